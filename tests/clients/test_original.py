"""Our clients with a server of the original library, wyre 1.2.1.

It is on no registry, so what it says is played from the recording that the server's own test replays.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from threading import Thread
from typing import Any, Final

import pytest
from switchboard_client import ConnectionClosed, Context, RequestError, connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tests.clients.test_javascript import run
from tests.requests.test_transcript import TRANSCRIPT

pytestmark = pytest.mark.once

ANSWERS: Final = {sent.get("type"): answers for sent, answers in TRANSCRIPT if "key" in sent}
"""Answers of the original, by the type of the request."""


def play(connection: ServerConnection) -> None:
    """Answer as the recording does; a request of type `ask me` is answered once the client has answered."""
    waiting: dict[str, Any] = {}
    for text in connection:
        frame = json.loads(text)
        for answer in said_to(frame, waiting):
            connection.send(json.dumps(answer))


def said_to(frame: dict[str, Any], waiting: dict[str, Any]) -> list[dict[str, Any]]:
    kind = frame.get("type")
    if frame.get("direction") in ("PARTIAL", "REPLY"):
        content = {"n": frame["n"]} if frame["direction"] == "PARTIAL" else {"got": frame}
        return [content | {"key": waiting["key"], "direction": frame["direction"]}]
    if kind == "ask me":
        waiting["key"] = frame["key"]
        return [{"kind": "ok", "direction": "REQUEST", "key": "565b493d-967a-44ee-9408-7dcdc79d2fe2"}]
    if kind == "tell me":
        return [{"type": "told", "text": frame["text"]}]
    return [answer | {"key": frame["key"]} for answer in ANSWERS.get(kind, [])]


def first_of_any(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """ws 0.8 answers the first subprotocol that is offered, and knows none of them."""
    return offered[0] if offered else None


@pytest.fixture(scope="module")
def original() -> Iterator[str]:
    """The URL of a server that speaks as the original does."""
    with serve(play, "127.0.0.1", 0, select_subprotocol=first_of_any) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


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
        await connection.send({"type": "tell me", "text": "psst"}, timeout=60)
        assert (await asyncio.wait_for(told.get(), 60)).message["text"] == "psst"
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
