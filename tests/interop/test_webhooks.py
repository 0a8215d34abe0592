"""The receivers of docs/webhooks.md take our calls: the Standard Webhooks libraries verify them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from routing_app.core import json as strict_json
from routing_app.core.outgoing.client import Client
from routing_app.core.outgoing.signature import new_secret, sign
from tests.documents.blocks import ALL
from tests.services.javascript import require_packages
from tests.services.ports import answers, free_port
from tests.services.waiting import until

pytestmark = pytest.mark.once

LANGUAGES = ("python", "js")
DATA = {"token": "ab…", "text": "é \u2028 😀", "number": 0.1}


def example(language: str) -> str:
    """The receiver of the document."""
    [found] = [block.text for block in ALL["docs/webhooks.md"] if block.language == language and block.title]
    return found


def command(language: str, folder: Path) -> tuple[Sequence[str], Path]:
    """What runs it, and where."""
    if language == "python":
        return [sys.executable, "-c", example(language)], folder
    modules = require_packages("tests/interop")
    return ["node", "--input-type=module", "-e", example(language)], modules


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    one = Client(private=True)
    yield one
    await one.close()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_receiver_of_the_document_takes_our_calls_and_no_others(
    client: Client, language: str, tmp_path: Path
):
    old, new = new_secret(), new_secret()
    port = free_port()
    line, folder = command(language, tmp_path)
    env = {**os.environ, "WEBHOOK_SECRET": old, "PORT": str(port)}
    process = Popen(line, cwd=folder, env=env, stdout=PIPE, text=True)  # noqa: ASYNC220 - it starts at once
    try:
        await until(lambda: asyncio.to_thread(answers, port))
        call = caller(client, f"http://127.0.0.1:{port}/")
        assert await call("msg_1", [old]) == 204
        assert await call("msg_2", [new, old]) == 204
        assert await call("msg_3", [new]) == 401
        assert await call("msg_4", [old], later="!") == 401
        assert await call("msg_5", [old], age=3600) == 401
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=60)
    lines = [line.split(" ", 2) for line in output.strip().split("\n")]
    assert [(id, type) for id, type, _ in lines] == [
        ("msg_1", "token.registered"),
        ("msg_2", "token.registered"),
    ]
    assert all(json.loads(data) == DATA for _, _, data in lines)


def caller(client: Client, url: str) -> Callable:
    """Calls as webhooks do; the status."""

    async def call(id: str, keys: Sequence[str], later: str = "", age: int = 0) -> int:
        at = int(time.time()) - age
        body = strict_json.dumps(
            {"type": "token.registered", "timestamp": "2026-11-29T00:00:00Z", "data": DATA}
        )
        headers = sign(keys, id, at, body.encode())
        return (await client.post(url, (body + later).encode(), headers, 60)).status

    return call
