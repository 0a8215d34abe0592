"""The published clients' way in: Node's `ws` with an Authorization header, as the original documents it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.events.client import PUBLIC, new_user
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server

pytestmark = pytest.mark.once

SCRIPT = Path(__file__).with_name("events.mjs")


def run(*arguments: str) -> list[Any]:
    """The output of the script, line by line."""
    result = subprocess.run(
        ["node", str(SCRIPT), *arguments], capture_output=True, text=True, check=True, timeout=50
    )
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def chat(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the example's walkers."""
    with running(databases, tmp_path_factory.mktemp("chat"), EXTRA_APPS="examples.chat") as server:
        yield server


def test_the_ws_package_is_authenticated_by_header_and_sends_every_event(chat: Server):
    user = new_user(chat)
    first, *frames, end = run(f"{chat.ws_url}/websocket?channel_id=tea", user.token, "tea")

    assert first["msg"]["data"]["root_id"] == user.root_id
    assert first["msg"]["data"]["channel_id"] == "tea"
    assert not any(frame["isBinary"] for frame in frames)
    assert [frame["msg"] for frame in frames] == [
        {"type": "chat", "data": {"any_field": "client"}},
        {"type": "chat", "data": {"any_field": "channel"}},
        {"type": "chat", "data": {"any_field": "user"}},
        {"type": "chat", "data": {"message": "string"}},
        {"status": 200, "reports": []},
    ]
    assert end == {"code": 1000}


def test_a_wrong_header_makes_it_public(chat: Server):
    first, *frames, end = run(f"{chat.ws_url}/websocket?channel_id=tea", "nonsense", "tea")

    assert first["msg"]["data"]["root_id"] == PUBLIC
    refusal = {"type": "walker", "error": "Event send_chat_to_user requires to be authenticated!"}
    assert frames[-1]["msg"] == refusal
    assert len(frames) == 4
    assert end == {"code": 1000}
