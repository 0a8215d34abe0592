"""Both clients at a real server, by way of a proxy that cuts at random moments, while messages are published.

Some go through the proxy as well, so that they are under way at a cut. Every message arrives once, and those
to one address in the order of its stream.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import pytest

from tests.clients.puppets import SECONDS, Puppet, node_puppet, python_puppet
from tests.clients.test_python import url_of
from tests.faults.proxy import Proxy
from tests.services.representatives import all_once
from tests.services.server import Server

ADDRESSES: Final = ("channel:cut/a", "channel:cut/b", "token:cut/c")
ROUNDS: Final = 10
IN_FLIGHT: Final = 10
BYTES_PER_SECOND: Final = 150_000
"""Slow enough for a cut to come in the middle of what is sent again."""

pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts to come back do not wait."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0)


@asynccontextmanager
async def connected(language: str, url: str, key: str) -> AsyncIterator[Puppet]:
    async with python_puppet() if language == "python" else node_puppet(at_once=True) as client:
        await client.do("connect", url=url, key=key)
        yield client


class Publishing:
    """Publishes numbers until it is stopped, each to one or two addresses."""

    def __init__(self, client: Puppet, name: str, chance: random.Random) -> None:
        self._client = client
        self._name = name
        self._chance = chance
        self.answers: list[tuple[str, dict[str, Any]]] = []
        self.stopped = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for lane in range(IN_FLIGHT):
                group.create_task(self._publish(lane))

    async def _publish(self, lane: int) -> None:
        number = 0
        while not self.stopped:
            message = f"{self._name} {lane} {number}"
            number += 1
            given: dict[str, Any] = {
                "addresses": self._chance.sample(ADDRESSES, self._chance.choice((1, 1, 2))),
                "message": message,
            }
            if self._chance.random() < 0.2:
                answer = (await self._client.do("publish_batch", messages=[given]))["results"][0]
            else:
                answer = await self._client.do("publish", **given, options={})
            self.answers.append((message, answer))


class Received:
    """What a subscriber is told, in order; `run` takes it as it comes."""

    def __init__(self, client: Puppet) -> None:
        self._client = client
        self._more = asyncio.Event()
        self.messages: list[str] = []
        self.told: Counter[str] = Counter()

    async def run(self) -> None:
        while True:
            kind, *given = await self._client.told.get()
            self.told[kind] += 1
            if kind == "delivery":
                self.messages.append(given[1])
            self._more.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._more.clear()
                await self._more.wait()

    async def wait(self, number: int) -> None:
        """Until so many messages have come."""
        await self.until(lambda: len(self.messages) >= number)

    async def wait_for_some(self, chance: random.Random, recovered: int) -> None:
        """Until some more have come, or what was missed begins to come: it was told so often before."""
        number = len(self.messages) + chance.randrange(40)
        if chance.random() < 0.5:
            await self.wait(number)
        else:
            await self.until(lambda: self.told["recovered"] > recovered)


@pytest.mark.parametrize("language", all_once(["python", "javascript"], "python"))
async def test_every_message_arrives_once_and_in_order(
    kept: Server, language: str, record_property: Callable[[str, object], None]
) -> None:
    seed = random.randrange(2**32)
    record_property("seed", seed)
    chance, key = random.Random(seed), kept.api_key
    async with AsyncExitStack() as stack:
        proxy = stack.enter_context(Proxy(kept.port))
        through = f"ws://127.0.0.1:{proxy.port}/connection"
        subscriber = await stack.enter_async_context(connected(language, through, key))
        await asyncio.wait_for(subscriber.subscribe(*ADDRESSES, recover=True), SECONDS)
        received = Received(subscriber)
        publishing = [
            Publishing(await stack.enter_async_context(connected(language, url, key)), name, chance)
            for url, name in ((through, "cut"), (url_of(kept), "direct"))
        ]
        tasks = [asyncio.ensure_future(one.run()) for one in publishing]
        receiving = asyncio.ensure_future(received.run())
        for _ in range(ROUNDS):
            await asyncio.to_thread(proxy.down)
            missed = len(publishing[1].answers) + chance.choice((0, 20, 150))
            async with asyncio.timeout(SECONDS):
                while len(publishing[1].answers) < missed:
                    await asyncio.sleep(0.001)
            recovered = received.told["recovered"]
            await asyncio.to_thread(proxy.heal)
            proxy.slow(bytes_per_second=BYTES_PER_SECOND)
            await received.wait_for_some(chance, recovered)
        proxy.slow()
        for one in publishing:
            one.stopped = True
        await asyncio.wait_for(asyncio.gather(*tasks), SECONDS)
        answers = dict(answer for one in publishing for answer in one.answers)
        await received.wait(len(answers))
        ends = {one: (await subscriber.do("history", address=one, options={"limit": 0})) for one in ADDRESSES}
        receiving.cancel()

    assert Counter(received.messages) == Counter(list(answers)), "each once"
    assert received.told["gap"] == 0
    assert received.told["recovered"] >= len(ADDRESSES)
    for address in ADDRESSES:
        places = [answers[message]["positions"].get(address) for message in received.messages]
        offsets = [place["offset"] for place in places if place is not None]
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
        assert ends[address]["offset"] == offsets[-1], "nothing was published twice"
