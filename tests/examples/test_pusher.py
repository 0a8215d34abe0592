"""The example protocol: pusher-js, unmodified, receives messages of its channels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.request import Request, urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.pusher import wire
from tests.conftest import ServerFactory
from tests.services.javascript import require_packages
from tests.services.server import Server


class Pusher:
    """A process with pusher-js."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self) -> list[Any]:
        """The next line that it prints."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        said: list[Any] = json.loads(line)
        return said

    async def until(self, *words: Any) -> None:
        """Read lines up to this one."""
        while await self.says() != list(words):
            pass

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())


def publish(broker: Server, address: str, message: Any) -> dict[str, Any]:
    body = json.dumps({"addresses": [address], "message": message}).encode()
    headers = {"X-API-Key": broker.api_key, "Content-Type": "application/json"}
    with urlopen(Request(f"{broker.url}/api/publish", body, headers), timeout=60) as answer:
        outcome: dict[str, Any] = json.load(answer)
        return outcome


@pytest.fixture
async def broker(server: ServerFactory) -> Server:
    return await asyncio.to_thread(server, EXTRA_APPS="examples.pusher")


@pytest.fixture
async def pusher(broker: Server) -> AsyncIterator[Pusher]:
    """It asks for `news`, `sport` and `private-diary`."""
    folder = require_packages("tests/interop")
    process = await asyncio.create_subprocess_exec(
        "node",
        "pusher.mjs",
        str(broker.port),
        "news",
        "sport",
        "private-diary",
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    client = Pusher(process)
    await client.until("state", "connected")
    yield client
    process.kill()
    await process.wait()


async def test_pusher_js_receives_publications_to_its_channels(broker: Server, pusher: Pusher):
    answers = [await pusher.says() for _ in range(3)]  # in any order
    assert {channel: event for channel, event, _ in answers} == {
        "news": "pusher:subscription_succeeded",
        "sport": "pusher:subscription_succeeded",
        "private-diary": "pusher:subscription_error",
    }

    await asyncio.to_thread(publish, broker, "pusher:news", {"event": "headline", "data": {"text": "Grüße"}})
    assert await pusher.says() == ["news", "headline", {"text": "Grüße"}]

    await asyncio.to_thread(publish, broker, "pusher:sport", [1, None, "two"])
    assert await pusher.says() == ["sport", "message", [1, None, "two"]]

    pusher.tell("leave news")
    await asyncio.to_thread(publish, broker, "pusher:sport", "marker")
    assert await pusher.says() == ["sport", "message", "marker"]


def test_a_frame_of_a_client_is_read():
    assert wire.parse('{"event":"pusher:subscribe","data":{"channel":"news"}}') == wire.PusherEvent(
        "pusher:subscribe", "news"
    )
    assert wire.parse('{"event":"pusher:ping"}') == wire.PusherEvent("pusher:ping")


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_text_that_is_no_frame_is_malformed(text: str):
    with pytest.raises(wire.BadFrame):
        wire.parse(text)


@pytest.mark.parametrize("channel", ["", "a b", "private-x", "presence-x", "cache-x", "x" * 201, "ü"])
def test_channels_that_nobody_can_subscribe_to(channel: str):
    with pytest.raises(wire.NoSuchChannel):
        wire.check_channel(channel)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_delivery_carries_the_message_as_a_string_of_json(message: Any):
    frame = json.loads(wire.delivery("news", message))

    assert frame["channel"] == "news"
    named = isinstance(message, dict) and isinstance(message.get("event"), str)
    assert json.loads(frame["data"]) == (message.get("data") if named else message)
