"""The backends of docs/hooks.md: they verify a question, and their answers do what the page says."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.documents.blocks import ALL
from tests.hooks.backend import call
from tests.requests.peer import Peer
from tests.services.databases import REPOSITORY
from tests.services.javascript import require_packages
from tests.services.ports import answers, free_port
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once


BLOCKS = ALL["docs/hooks.md"]
CREATE, TRY = (block.text for block in BLOCKS if block.language == "sh")


def example(language: str) -> str:
    """The backend of the document."""
    [found] = [block.text for block in BLOCKS if block.language == language]
    return found


def row_of_the_document() -> dict[str, Any]:
    """The body that the document's `curl` sends."""
    words = shlex.split(CREATE)
    row = json.loads(words[words.index("-d") + 1])
    assert isinstance(row, dict)
    return row


def messages_of_the_document() -> list[str]:
    """The messages that the document's commands send: one that is allowed, one that is not."""
    commands = [shlex.split(line) for line in TRY.splitlines() if "switchboard send" in line]
    assert [command[-2] for command in commands] == ["room:bus/r1"] * 2
    return [command[-1] for command in commands]


@contextmanager
def running(language: str, port: int, secret: str) -> Iterator[None]:
    command = [sys.executable, "-c", example(language)]
    folder = REPOSITORY
    if language == "js":
        folder = require_packages("tests/interop")
        command = ["node", "--input-type=module", "-e", example(language)]
    env = {**os.environ, "HOOK_SECRET": secret, "PORT": str(port)}
    process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port))
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_backend_of_the_document_decides(broker: Server, name: str, language: str):
    port = free_port()
    url = f"http://127.0.0.1:{port}/hooks"
    row = {**row_of_the_document(), "url": url, "timeout": 60_000}
    made = call(broker, "POST", "/api/hooks/", row)[1]
    peer = Peer(broker, f"?key={broker.api_key}")
    try:
        with running(language, port, made["secret"]):
            room = [f"room:bus/{name}"]
            allowed, denied = messages_of_the_document()
            assert peer.ask("publish", addresses=room, message=allowed)["delivered_to"] == 0
            refused = peer.ask("publish", addresses=room, message=denied)
            assert (refused["code"], refused["message"]) == ("forbidden", "be polite")
            change = {"on": "request", "pattern": f"{name}.*"}
            assert call(broker, "PATCH", f"/api/hooks/{made['id']}/", change)[0] == 200
            assert peer.ask(f"{name}.greet", name="Ada")["hello"] == "Ada"
            assert peer.ask(f"{name}.greet")["direction"] == "REPLY"
            with pytest.raises(HTTPError) as unsigned:
                urlopen(Request(url, b"{}"))
            assert unsigned.value.code == 401
            unsigned.value.close()
    finally:
        peer.close()
        call(broker, "DELETE", f"/api/hooks/{made['id']}/")
