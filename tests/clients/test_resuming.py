"""Both clients come back to a server that is out for a moment, and stay away from one that says no.

The server is a stand-in that fails as it is told to: a broker cannot be made to fail at one attempt alone.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from switchboard_client import Connection, connect
from switchboard_client import ConnectionClosed as ConnectionLost
from switchboard_client.cli import _parser, _run
from switchboard_client.dialing import Dialer, seconds
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.clients.test_javascript import CLIENT
from tests.services.javascript import require_packages

pytestmark = pytest.mark.once

KEY: Final = "swk_a_key"
ADDRESSES: Final = [f"channel:{n:03}/{'ä' * 200}" for n in range(600)]
"""More than fit into one frame, and than one list may hold."""
FRAME_BYTES: Final = 65_536
HOLD: Final = 0
ASKED: Final = 7
"""Seconds that a 429 or 503 of the stand-in asks for; the clients' waits are cut short, and counted."""


@dataclass
class Attempt:
    """One connection, or one that was refused: its key in the handshake, and what it has asked for."""

    key: str | None
    asked: list[str] = field(default_factory=list)
    authenticated: list[str] = field(default_factory=list)
    addresses: set[str] = field(default_factory=set)


class StandIn:
    """A server of the line that knows the built-in requests by name, and `leave`, after which it closes.

    `faults` are by attempt: a status refuses the handshake, HOLD delays it until `released` is set, a code is
    the answer to `authenticate`. `left` is set when a client has gone by itself.
    """

    def __init__(self, faults: dict[int, int | str]) -> None:
        self._faults = faults
        self.attempts: list[Attempt] = []
        self.url = ""
        self.begun = asyncio.Condition()
        self.released = asyncio.Event()
        self.left = asyncio.Event()

    async def handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        self.attempts.append(Attempt(request.headers.get("X-API-Key")))
        fault = self._faults.get(len(self.attempts))
        async with self.begun:
            self.begun.notify_all()
        if fault == HOLD:
            await self.released.wait()
            return None
        if not isinstance(fault, int):
            return None
        response = connection.respond(fault, "no")
        if fault in (429, 503):
            response.headers["Retry-After"] = str(ASKED)
        if fault == 302:
            response.headers["Location"] = "https://status.example.com/"
        return response

    async def serve(self, socket: ServerConnection) -> None:
        fault, attempt = self._faults.get(len(self.attempts)), self.attempts[-1]
        with suppress(ConnectionClosed):
            async for text in socket:
                asked = json.loads(text)
                if asked["type"] == "leave":
                    await socket.close(4200, "come back")
                    return
                answer = self._answer(attempt, asked, fault)
                await socket.send(json.dumps({**answer, "key": asked["key"]}))
        self.left.set()

    def _answer(self, attempt: Attempt, asked: dict[str, Any], fault: Any) -> dict[str, Any]:
        attempt.asked.append(asked["type"])
        if asked["type"] == "authenticate":
            attempt.authenticated.append(asked["api_key"])
            if fault:
                return {"direction": "ERROR", "code": fault}
        elif asked["type"] == "subscribe":
            assert len(asked["addresses"]) <= 500
            attempt.addresses.update(asked["addresses"])
        return {"direction": "REPLY"}

    async def attempted(self, number: int) -> None:
        """Wait for an attempt."""
        async with asyncio.timeout(60), self.begun:
            await self.begun.wait_for(lambda: len(self.attempts) >= number)


@pytest.fixture
async def stand_in(request: pytest.FixtureRequest) -> AsyncIterator[StandIn]:
    stand_in = StandIn(request.param)
    async with serve(
        stand_in.serve,
        "127.0.0.1",
        0,
        process_request=stand_in.handshake,
        subprotocols=[Subprotocol("wyre")],
        max_size=FRAME_BYTES,
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        stand_in.url = f"ws://127.0.0.1:{port}"
        yield stand_in
        stand_in.released.set()


@pytest.fixture(autouse=True)
def obeyed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a server has asked the Python client to wait, each time; nothing waits here."""
    seconds: list[float] = []
    sleep = asyncio.sleep

    async def cut_short(delay: float, result: Any = None) -> Any:
        if delay == ASKED:
            seconds.append(delay)
            delay = 0
        return await sleep(delay, result)

    monkeypatch.setattr("random.uniform", lambda low, high: 0)
    monkeypatch.setattr("asyncio.sleep", cut_short)
    return seconds


@asynccontextmanager
async def node(stand_in: StandIn, script: str, before: str = "") -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a script that has a `connection`, which subscribes to all ADDRESSES and has been sent away.

    `before` runs before it connects.
    """
    require_packages("clients/js")
    begin = """
        import { connect } from "switchboard-client";
        import { WebSocket } from "ws";
        Math.random = () => 0;
        const obeyed = [];
        const wait = setTimeout;
        globalThis.setTimeout = (call, ms, ...rest) => {
          if (ms !== ASKED * 1000) return wait(call, ms, ...rest);
          obeyed.push(ms);
          return wait(call, 0, ...rest);
        };
        BEFORE
        const connection = await connect(process.env.URL, { key: process.env.KEY, WebSocket });
        const ends = [];
        connection.on("close", (code) => ends.push(code));
        const errors = [];
        connection.on("error", (error) => errors.push(error.code));
        const name = (n) => `channel:${String(n).padStart(3, "0")}/${"ä".repeat(200)}`;
        await connection.subscribe(...[...Array(600).keys()].map(name));
        const back = new Promise((resolve) => connection.on("reconnect", resolve));
        await connection.request({ type: "leave" }).catch(() => {});
    """
    begin = begin.replace("ASKED", str(ASKED)).replace("BEFORE", before)
    env = os.environ | {"URL": stand_in.url, "KEY": KEY}
    process = await asyncio.create_subprocess_exec(
        *("node", "--input-type=module", "-e", begin + script),
        cwd=CLIENT,
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def printed(process: asyncio.subprocess.Process) -> Any:
    """The output of a script, as JSON."""
    assert process.stdout is not None
    return json.loads(await asyncio.wait_for(process.stdout.readline(), 60))


async def sent_away(stand_in: StandIn) -> tuple[Connection, asyncio.Event, list[Any]]:
    """The Python client in the same state; what is set when it is back, and its errors."""
    connection = await connect(stand_in.url, key=KEY)
    back, errors = asyncio.Event(), list[Any]()
    connection.on("reconnect", lambda _: back.set())
    connection.on("error", lambda error: errors.append(error.code))
    await connection.subscribe(*ADDRESSES)
    connection.request({"type": "leave"})
    return connection, back, errors


PASSES: Final[dict[int, int | str]] = {2: 403, 3: 503, 4: "unavailable", 5: "internal", 6: 429, 7: "rate"}


def resumed(stand_in: StandIn) -> None:
    *_, last = stand_in.attempts
    assert len(stand_in.attempts) == len(PASSES) + 2
    assert last.authenticated == [KEY]
    assert last.addresses == set(ADDRESSES)


@pytest.mark.parametrize("stand_in", [PASSES], indirect=True, ids=["passing faults"])
async def test_python_comes_back_with_its_rights_and_all_addresses(
    stand_in: StandIn, obeyed: list[float]
) -> None:
    connection, back, errors = await sent_away(stand_in)
    await asyncio.wait_for(back.wait(), 60)
    await connection.close()

    resumed(stand_in)
    assert errors == ["unavailable", "internal", "rate"]
    assert obeyed == [ASKED] * 2
    # The first handshake fails at once for a wrong key; later ones leave the answer to `authenticate`, until
    # one is refused: there are servers that let nobody in without a key.
    assert [attempt.key for attempt in stand_in.attempts] == [KEY, None, *[KEY] * 2, *[None] * 4]


@pytest.mark.parametrize("stand_in", [PASSES], indirect=True, ids=["passing faults"])
async def test_javascript_comes_back_with_its_rights_and_all_addresses(stand_in: StandIn) -> None:
    script = """
        await back;
        await connection.close();
        console.log(JSON.stringify([errors, ends, obeyed]));
    """
    errors = ["unavailable", "internal", "rate"]
    async with node(stand_in, script) as process:
        assert await printed(process) == [errors, [1000], [ASKED * 1000] * 2]
    resumed(stand_in)


MOVED: Final[dict[int, int | str]] = {2: 302}


@pytest.mark.parametrize("stand_in", [MOVED], indirect=True, ids=["a page for the meantime"])
async def test_python_comes_back_when_it_was_sent_to_a_page_for_the_meantime(stand_in: StandIn) -> None:
    connection, back, _ = await sent_away(stand_in)
    await asyncio.wait_for(back.wait(), 60)
    await connection.close()
    assert len(stand_in.attempts) == 3


@pytest.mark.parametrize("stand_in", [MOVED], indirect=True, ids=["a page for the meantime"])
async def test_javascript_comes_back_when_it_was_sent_to_a_page_for_the_meantime(stand_in: StandIn) -> None:
    script = "await back; await connection.close(); console.log(JSON.stringify(ends));"
    async with node(stand_in, script) as process:
        assert await printed(process) == [1000]
    assert len(stand_in.attempts) == 3


@pytest.mark.parametrize("stand_in", [{}], indirect=True, ids=["no fault"])
async def test_python_tells_of_what_ends_its_reading(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Dialer, code: int) -> None:
        raise LookupError

    monkeypatch.setattr(Dialer, "dial_again", broken)
    connection = await connect(stand_in.url)
    told: list[Any] = []
    connection.on("error", told.append)
    connection.on("close", told.append)
    asking = connection.request({"type": "leave"})
    assert (await asyncio.wait_for(connection.closed(), 60)).code == 1006
    assert [type(one) for one in told] == [LookupError, ConnectionLost]
    with pytest.raises(ConnectionLost):
        await asking
    with pytest.raises(ConnectionLost):
        await connection.opened()


@pytest.mark.parametrize("stand_in", [{}], indirect=True, ids=["no fault"])
async def test_python_leaves_no_socket_that_it_does_not_read(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await connect(stand_in.url)

    def broken(data: str) -> None:
        raise LookupError

    monkeypatch.setattr(connection, "_take", broken)
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(connection.request({"type": "whoami"}), 60)
    await asyncio.wait_for(stand_in.left.wait(), 60)
    assert not connection.is_open
    assert (await connection.closed()).code == 1006


FULL: Final[dict[int, int | str]] = {1: 503, 2: 429, 4: "unavailable"}


@pytest.mark.parametrize("stand_in", [FULL], indirect=True, ids=["a full server"])
async def test_python_comes_back_to_a_server_that_was_full_from_the_start(
    stand_in: StandIn, obeyed: list[float]
) -> None:
    connection, back, _ = await sent_away(stand_in)
    assert len(stand_in.attempts) == 3
    assert obeyed == [ASKED] * 2
    await asyncio.wait_for(back.wait(), 60)
    await connection.close()
    assert len(stand_in.attempts) == 5


@pytest.mark.parametrize("stand_in", [FULL], indirect=True, ids=["a full server"])
async def test_python_that_shall_not_reconnect_is_told(stand_in: StandIn) -> None:
    with pytest.raises(ConnectionError, match="503"):
        await connect(stand_in.url, key=KEY, reconnect=False)
    assert len(stand_in.attempts) == 1


UNREADY: Final[dict[int, int | str]] = {1: 503, 2: "unavailable", 3: 429, 4: "rate"}


@pytest.mark.parametrize("stand_in", [UNREADY], indirect=True, ids=["a full server"])
async def test_javascript_comes_back_to_a_server_that_was_full_from_the_start(stand_in: StandIn) -> None:
    script = """
        await back;
        await connection.close();
        console.log(JSON.stringify([errors, ends, obeyed.length]));
    """
    async with node(stand_in, script) as process:
        assert await printed(process) == [[], [1000], 2]
    assert len(stand_in.attempts) == len(UNREADY) + 2


@pytest.mark.parametrize("stand_in", [{1: 503, 2: 503}], indirect=True, ids=["a full server"])
async def test_listen_goes_on_where_a_server_was_full(stand_in: StandIn, obeyed: list[float]) -> None:
    options = _parser().parse_args(["--url", stand_in.url, "listen", "channel:a"])
    listening = asyncio.ensure_future(_run(options))
    async with asyncio.timeout(60):
        while not any("subscribe" in attempt.asked for attempt in stand_in.attempts):
            assert not listening.done()
            await asyncio.sleep(0.01)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert obeyed == [ASKED] * 2


def test_the_wait_that_a_server_asks_for_is_read_as_seconds_within_reason() -> None:
    values = ("7", "0", "", "-1", "1.5", "99999999", "Wed, 21 Oct 2015 07:28:00 GMT")
    assert [seconds(text) for text in values] == [7.0, 0.0, 0.0, 0.0, 0.0, 3600.0, 0.0]


NO: Final[dict[int, int | str]] = {2: "unauthenticated"}


@pytest.mark.parametrize("stand_in", [NO], indirect=True, ids=["a revoked key"])
async def test_python_stays_away_when_its_key_is_refused(stand_in: StandIn) -> None:
    connection, _, errors = await sent_away(stand_in)

    assert (await asyncio.wait_for(connection.closed(), 60)).code == 4000
    assert errors == ["unauthenticated"]
    assert len(stand_in.attempts) == 2


@pytest.mark.parametrize("stand_in", [NO], indirect=True, ids=["a revoked key"])
async def test_javascript_stays_away_when_its_key_is_refused(stand_in: StandIn) -> None:
    script = "const { code } = await connection.closed; console.log(JSON.stringify([code, errors]));"

    async with node(stand_in, script) as process:
        assert await printed(process) == [4000, ["unauthenticated"]]
    assert len(stand_in.attempts) == 2


@pytest.mark.parametrize("stand_in", [{}], indirect=True, ids=["no fault"])
async def test_python_asks_for_its_rights_before_anybody_else_asks(stand_in: StandIn) -> None:
    connection, _, _ = await sent_away(stand_in)
    async with asyncio.timeout(60):
        while connection.is_open:
            await asyncio.sleep(0)
    await asyncio.wait_for(connection.opened(), 60)
    await connection.request({"type": "of somebody who waited"})
    await connection.close()

    assert stand_in.attempts[1].asked[:2] == ["authenticate", "of somebody who waited"]


UNANSWERED: Final = """
    // What shall happen after 20 s does so when it is asked for.
    const late = [];
    const soon = globalThis.setTimeout;
    globalThis.setTimeout = (call, ms, ...rest) => {
      if (ms === 20_000) late.push(call);
      return soon(call, ms, ...rest);
    };
    process.stdin.on("data", () => late.at(-1)());
"""


@pytest.mark.parametrize("stand_in", [{2: HOLD}], indirect=True, ids=["no answer"])
async def test_javascript_gives_up_an_attempt_that_gets_no_answer(stand_in: StandIn) -> None:
    script = """
        await back;
        process.stdin.destroy();
        await connection.close();
        console.log(JSON.stringify(ends));
        process.on("exit", () => console.log(JSON.stringify(process.getActiveResourcesInfo())));
    """
    async with node(stand_in, script, before=UNANSWERED) as process:
        await stand_in.attempted(2)
        assert process.stdin is not None
        process.stdin.write(b"give up")
        assert await printed(process) == [1000]
        assert "Timeout" not in await printed(process), "it ends without them"
    assert len(stand_in.attempts) == 3


@pytest.mark.parametrize("stand_in", [{1: HOLD}], indirect=True, ids=["no answer"])
async def test_javascript_is_told_that_its_first_attempt_gets_no_answer(stand_in: StandIn) -> None:
    before = (
        UNANSWERED
        + """
        process.on("uncaughtException", ({ name, code }) => {
          console.log(JSON.stringify([name, code]));
          process.exit();
        });
    """
    )
    async with node(stand_in, "", before=before) as process:
        await stand_in.attempted(1)
        assert process.stdin is not None
        process.stdin.write(b"give up")
        assert await printed(process) == ["ConnectionClosed", 1006]


@pytest.mark.parametrize("stand_in", [{2: HOLD}], indirect=True, ids=["a slow handshake"])
async def test_javascript_ends_once_when_it_is_closed_while_it_comes_back(stand_in: StandIn) -> None:
    script = """
        process.stdin.once("data", async () => {
          process.stdin.destroy();
          await connection.close();
          console.log(JSON.stringify(ends));
        });
        process.on("exit", () => console.log(JSON.stringify(ends)));
    """
    async with node(stand_in, script) as process:
        await stand_in.attempted(2)
        assert process.stdin is not None
        process.stdin.write(b"close")
        assert await printed(process) == [1000]
        stand_in.released.set()
        assert await printed(process) == [1000], "after the handshake that was under way"
