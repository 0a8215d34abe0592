"""Both clients present an access token at each socket, and another one before it expires.

The server is a stand-in: tokens of a real one are good for too long, or end too soon for a busy machine.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from switchboard_client import NoToken, connect
from switchboard_client.renewal import renews_in
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.clients.puppets import Puppet, node_puppet, python_puppet
from tests.clients.test_javascript import CLIENT
from tests.requests.serving import serving
from tests.services.databases import Databases
from tests.services.issuing import add_issuer, token
from tests.services.javascript import require_packages
from tests.services.server import Server

pytestmark = pytest.mark.once

LONG: Final = 3600.0


class StandIn:
    """A server that takes sockets with a token only; `leave` closes a socket as an expired token does."""

    def __init__(self) -> None:
        self.url = ""
        self.first_seconds = LONG
        self.refused: set[str] = set()
        self.failures: list[str] = []
        """Codes of the first answers to `whoami`."""
        self.handshakes: list[str] = []
        self.told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        header = request.headers.get("Authorization", "").removeprefix("Bearer ")
        (token,) = parse_qs(urlsplit(request.path).query).get("access_token", [header])
        self.handshakes.append(token)
        return None if token and token not in self.refused else connection.respond(403, "no")

    async def serve(self, socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for text in socket:
                asked = json.loads(text)
                if asked["type"] == "leave":
                    await socket.close(4005, "credentials expired")
                    return
                await socket.send(json.dumps({**self._answer(asked), "key": asked["key"]}))

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["type"] == "whoami" and self.failures:
            return {"direction": "ERROR", "code": self.failures.pop(0), "message": "no"}
        if asked["type"] == "whoami":
            return {"direction": "REPLY", "expires_in": self.first_seconds}
        if asked["type"] != "authenticate":
            return {"direction": "REPLY"}
        if asked["token"] in self.refused:
            self.told.put_nowait(("refused", asked["token"]))
            return {"direction": "ERROR", "code": "unauthenticated", "message": "no"}
        self.told.put_nowait(("renewed", asked["token"]))
        return {"direction": "REPLY", "expires_in": LONG}

    async def next(self) -> tuple[str, str]:
        return await asyncio.wait_for(self.told.get(), 60)


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    async with serve(
        stand_in.serve,
        "127.0.0.1",
        0,
        process_request=stand_in.handshake,
        subprotocols=[Subprotocol("wyre")],
    ) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        stand_in.url = f"ws://127.0.0.1:{port}/connection"
        yield stand_in


@pytest.fixture(scope="module")
def guarded(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server, whose clients need a credential."""
    with serving(databases, tmp_path_factory, REQUESTS_ACCESS="token") as server:
        add_issuer(server)
        yield server


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts of the Python client do not wait."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0)


Scene = Callable[..., Awaitable[list[Any]]]


async def python(server: StandIn, tokens: list[str | None], leaves: bool = False) -> list[Any]:
    """The codes of errors and closes that the Python client is told, after it was renewed or is back.

    `tokens` are those that its function gives, None for one that fails; it `leaves` once it has connected.
    """
    left = iter(tokens)

    async def token() -> str:
        if (one := next(left)) is None:
            raise LookupError
        return one

    events: list[Any] = []
    connection = await connect(server.url, token=token)
    back = asyncio.Event()
    connection.on("error", lambda error: events.append(getattr(error, "code", "failed")))
    connection.on("close", lambda closed: events.append(closed.code))
    connection.on("reconnect", lambda _: back.set())
    if leaves:
        connection.request({"type": "leave"})
        await asyncio.wait_for(back.wait(), 60)
    else:
        while (await server.next())[0] != "renewed":
            pass
    await connection.close()
    return events


SCRIPT: Final = """
    import { connect } from "switchboard-client";
    import { WebSocket } from "ws";
    Math.random = () => 0;
    const [url, tokens, leaves] = JSON.parse(process.env.SCENE);
    const token = async () => {
      const one = tokens.shift();
      if (one === null) throw new Error("none");
      return one;
    };
    const connection = await connect(url, { token, WebSocket });
    const events = [];
    connection.on("error", (error) => events.push(error.code ?? "failed"));
    const back = new Promise((resolve) => connection.on("reconnect", resolve));
    connection.on("close", (code) => events.push(code));
    if (leaves) {
      connection.request({ type: "leave" }).catch(() => {});
      await back;
    } else await new Promise((resolve) => process.stdin.once("data", resolve));
    process.stdin.destroy();
    await connection.close();
    console.log(JSON.stringify(events));
"""


async def javascript(server: StandIn, tokens: list[str | None], leaves: bool = False) -> list[Any]:
    """The same of the JavaScript client."""
    require_packages("clients/js")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *("node", "--input-type=module", "-e", SCRIPT),
        cwd=CLIENT,
        env=os.environ | {"SCENE": json.dumps([server.url, tokens, leaves])},
        stdin=pipe,
        stdout=pipe,
    )
    try:
        if not leaves:
            while (await server.next())[0] != "renewed":
                pass
        output, _ = await asyncio.wait_for(process.communicate(b"" if leaves else b"on\n"), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    events: list[Any] = json.loads(output)
    return events


CLIENTS = pytest.mark.parametrize("client", [python, javascript])


@CLIENTS
async def test_a_token_is_replaced_before_it_expires(server: StandIn, client: Scene) -> None:
    server.first_seconds = 0.2
    assert await client(server, ["one", "two"]) == [1000]
    assert server.handshakes == ["one"]


@CLIENTS
async def test_a_token_is_replaced_also_where_its_time_cannot_be_had_at_once(
    server: StandIn, client: Scene
) -> None:
    server.first_seconds = 0.2
    server.failures = ["unavailable", "rate"]
    assert await client(server, ["one", "two"]) == ["unavailable", "rate", 1000]
    assert server.handshakes == ["one"]


@CLIENTS
async def test_a_server_that_knows_no_tokens_is_not_asked_again(server: StandIn, client: Scene) -> None:
    server.failures = ["unhandled"] * 9
    assert (await client(server, ["one", "two"], leaves=True))[-1] == 1000
    assert server.handshakes == ["one", "two"]
    assert len(server.failures) >= 7, "it is asked once for each socket"


@CLIENTS
async def test_a_replacement_that_is_refused_or_cannot_be_had_is_tried_again(
    server: StandIn, client: Scene
) -> None:
    server.first_seconds = 0.2
    server.refused = {"bad"}
    assert await client(server, ["one", "bad", None, "two"]) == ["unauthenticated", "failed", 1000]


@CLIENTS
async def test_each_socket_has_a_token_of_its_own_also_after_an_expiry(
    server: StandIn, client: Scene
) -> None:
    server.refused = {"stale"}
    assert (await client(server, ["one", "stale", "two"], leaves=True))[-1] == 1000
    assert server.handshakes == ["one", "stale", "two"]


async def test_python_is_told_when_there_is_no_token(server: StandIn) -> None:
    def token() -> str:
        raise LookupError

    with pytest.raises(NoToken):
        await connect(server.url, token=token)
    assert server.handshakes == []


async def test_python_takes_one_credential(server: StandIn) -> None:
    with pytest.raises(ValueError, match="not both"):
        await connect(server.url, key="sb_a_key", token="a.b.c")


async def test_python_stays_away_when_the_one_token_that_it_has_expires(server: StandIn) -> None:
    connection = await connect(server.url, token="only")
    connection.request({"type": "leave"})
    assert (await asyncio.wait_for(connection.closed(), 60)).code == 4005
    assert server.handshakes == ["only"]


async def test_javascript_stays_away_when_the_one_token_that_it_has_expires(server: StandIn) -> None:
    require_packages("clients/js")
    script = """
        import { connect } from "switchboard-client";
        import { WebSocket } from "ws";
        const connection = await connect(process.env.URL, { token: "only", WebSocket });
        connection.request({ type: "leave" }).catch(() => {});
        console.log((await connection.closed).code);
    """
    process = await asyncio.create_subprocess_exec(
        *("node", "--input-type=module", "-e", script),
        cwd=CLIENT,
        env=os.environ | {"URL": f"{server.url}?a=b"},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert output == b"4005\n"
    assert server.handshakes == ["only"]


@pytest.mark.parametrize("puppet", [python_puppet, partial(node_puppet, at_once=True)], ids=["python", "js"])
async def test_both_come_back_to_a_server_that_needs_a_credential(
    guarded: Server, puppet: Callable[[], AbstractAsyncContextManager[Puppet]]
) -> None:
    url = f"{guarded.ws_url}/connection"
    ways: list[dict[str, Any]] = [
        {"url": url, "token": token(["*"])},
        {"url": f"{url}?key={guarded.api_key}"},
    ]
    if puppet is python_puppet:  # a page cannot send a key but in the URL
        ways.append({"url": url, "key": guarded.api_key})
    for way in ways:
        async with puppet() as client:
            assert await client.do("connect", **way) is None
            assert await client.subscribe("channel:a") is None
            client.begin("request", message={"type": "close me", "code": 4200, "reason": "come back"})
            assert await client.next(but="error") == [["reconnect"]]
            whoami = await client.do("request", message={"type": "whoami"})
            assert whoami["addresses"] == ["channel:a"]
            await client.do("close")


def test_a_token_is_replaced_half_a_minute_or_a_quarter_of_its_time_before_its_end() -> None:
    assert [renews_in(seconds) for seconds in (0, -1, 4, 120, 3600)] == [0, 0, 3, 90, 3570]
