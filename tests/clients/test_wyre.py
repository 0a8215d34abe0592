"""The original library, wyre 1.2.1, in both roles: client of our server, and server of our clients."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from switchboard_client import ConnectionClosed, Context, RequestError, connect
from websockets.sync.client import connect as websocket

from tests.clients.test_javascript import run
from tests.requests.test_transcript import TRANSCRIPT
from tests.services.javascript import require_packages
from tests.services.ports import answers, free_port
from tests.services.process import Process
from tests.services.server import Server


@pytest.fixture(scope="module")
def folder() -> Path:
    """The original and the packages that it stands on."""
    return require_packages("tests/clients/wyre")


def test_the_original_as_client_of_our_server(one_worker: Server, folder: Path) -> None:
    url = f"{one_worker.ws_url}/connection"
    result = subprocess.run(
        ["node", "client.js", url], cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout.splitlines()[-1])

    assert seen["sent"] is None
    assert seen["told"] == {"type": "told", "text": "psst"}
    assert seen["partials"] == [1, 2]
    assert seen["reply"] == "ok"
    error = seen["error"]
    assert uuid.UUID(error.pop("key")).version == 4
    assert error == {"message": "nope", "code": 7, "direction": "ERROR"}
    assert seen["asked"] == {"key": "s1", "direction": "REQUEST"}
    assert seen["back"]["pieces"] == [1]
    assert seen["back"]["got"] == {"mine": 1, "key": "s1", "direction": "REPLY"}
    assert seen["closed"][0] == 4001
    assert "failed" not in seen


@pytest.fixture(scope="module")
def original(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of the original."""
    port = free_port()
    log = tmp_path_factory.mktemp("wyre") / "log"
    process = Process(["node", str(folder / "server.js"), str(port)], log=log)
    try:
        process.wait_until(lambda: answers(port))
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.kill_session()


def test_the_transcript_is_what_the_original_says(original: str) -> None:
    """So that the replay against our server is of what the original does, not of what we think it does."""
    with websocket(original, proxy=None) as peer:
        for sent, expected in TRANSCRIPT:
            peer.send(json.dumps(sent))
            got: list[dict[str, Any]] = [json.loads(peer.recv(timeout=10)) for _ in expected]
            assert got == expected


async def test_our_python_client_with_a_server_of_the_original(original: str) -> None:
    async with await connect(original, reconnect=False) as connection:

        @connection.on("request")
        async def answer(context: Context) -> None:
            assert context.message["kind"] == "ok"
            await context.partial({"n": 5})
            await context.reply({"mine": 1})

        told: asyncio.Queue[Context] = asyncio.Queue()
        connection.on("message", "told", told.put_nowait)
        request = connection.request({"question": "q"})
        assert [partial["n"] async for partial in request] == [1, 2]
        assert (await request)["answer"] == "ok"
        with pytest.raises(RequestError) as error:
            await connection.request({"type": "fail"})
        assert error.value.code == 7
        asked = connection.request({"type": "ask me"})
        assert [partial["n"] async for partial in asked] == [5]
        assert (await asked)["got"]["mine"] == 1
        # ws 0.8 answers the first subprotocol of any, and gives no receipts: none may be waited for.
        await connection.send({"type": "tell me", "text": "psst"}, timeout=5)
        assert (await asyncio.wait_for(told.get(), 10)).message["text"] == "psst"
        closing = connection.request({"type": "unanswered, for the original never times out"})
        await connection.close(4001, "done")
        with pytest.raises(ConnectionClosed):
            await closing


def test_our_javascript_client_with_a_server_of_the_original(original: str) -> None:
    script = f"""
        import {{ connect }} from "switchboard-client";
        const connection = await connect("{original}", {{ reconnect: false }});
        connection.on("request", async (context) => {{
          await context.partial({{ n: 5 }});
          await context.reply({{ mine: 1 }});
        }});
        const told = new Promise((resolve) => connection.on("message", "told", resolve));
        const partials = [];
        const request = connection.request({{ question: "q" }});
        for await (const partial of request) partials.push(partial.message.n);
        const {{ message: reply }} = await request;
        const error = await connection.request({{ type: "fail" }}).catch((error) => error);
        const asked = await connection.request({{ type: "ask me" }});
        await connection.send({{ type: "tell me", text: "psst" }});
        const {{ message }} = await told;
        await connection.close(4001, "done");
        const {{ mine }} = asked.message.got;
        console.log(JSON.stringify([partials, reply.answer, error.code, mine, message.text]));
    """
    assert json.loads(run(["node", "--input-type=module", "-e", script])) == [[1, 2], "ok", 7, 1, "psst"]
