"""The base socket: every way in, every way out, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from django.db import OperationalError

from routing_app.core import codes
from routing_app.core.access.admission import Refused
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import Close, Refusal
from routing_app.core.database import Overloaded
from routing_app.core.protocol import Protocol
from routing_app.core.publishing import publish
from routing_app.core.worker import Worker
from tests.core.harness import Counted
from tests.core.sockets import LINE, Client, Ledger, Probe, fail, raises, refusals

pytestmark = pytest.mark.django_db(transaction=True)


# --- in ---------------------------------------------------------------------------------------------------


async def test_a_socket_that_is_served(probe: type[Probe], ledger: Ledger):
    async def greet(self: Probe) -> None:
        self.connection.send("hello")
        self.connection.send("there")

    async def choose(self: Probe) -> str:
        return "v1"

    probe.act = {"opened": greet, "admit": choose}
    client = Client(probe)
    assert await client.connect(60) == (True, "v1")
    assert [await client.receive_from(60) for _ in range(2)] == ["hello", "there"]
    await client.send_to("one")
    await client.send_to("two")
    assert [await client.receive_from(60) for _ in range(2)] == ["echo one", "echo two"]
    assert await ledger.has(1)

    await client.disconnect()
    assert probe.log == ["one", "two", "closed"]
    assert await ledger.is_clean()


async def test_publications_before_the_handshake_is_answered_follow_it(probe: type[Probe], worker: Worker):
    async def publish(self: Probe) -> None:
        await self.worker.hub.close("token:nobody")
        self.connection.send("first")
        await asyncio.sleep(0.01)

    probe.act = {"opened": publish}
    client = Client(probe)
    await client.opens()

    assert await client.receive_from(60) == "first"
    await client.disconnect()


@pytest.mark.parametrize("where", ["admit", "opened"])
@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (Refused(codes.UNAUTHENTICATED), 4000, Refusal.FORBIDDEN),
        (Refused(codes.TOO_BIG, Refusal.GATE), 4023, Refusal.GATE),
        (LayerUnavailable("down"), 4103, Refusal.UNAVAILABLE),
        (Overloaded("behind"), 4103, Refusal.UNAVAILABLE),
        (OperationalError("gone"), 4103, Refusal.UNAVAILABLE),
        (RuntimeError("in a handler"), 4110, Refusal.EXCEPTION),
        (TimeoutError(), 4110, Refusal.EXCEPTION),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_a_refused_handshake_leaves_nothing_behind(
    probe: type[Probe], ledger: Ledger, where: str, error: Exception, code: int, reason: Refusal
):
    counted = refusals(reason)
    probe.act = {where: raises(error)}
    assert await Client(probe).refused() == code

    assert probe.log == (["closed"] if where == "opened" else [])
    assert (counted.grown, ledger.opened.grown) == (1, 0)
    assert await ledger.is_clean()


async def test_a_kick_before_the_accept_refuses(probe: type[Probe], ledger: Ledger):
    async def kick(self: Probe) -> None:
        self.connection.send("never sent")
        await self.worker.hub.close("token:b", codes.KICKED)

    probe.act = {"opened": kick}
    assert await Client(probe).refused() == codes.KICKED.code
    assert await ledger.is_clean()


async def test_closes_are_counted_for_opened_connections(probe: type[Probe], worker: Worker):
    closes = [Counted("switchboard_closed_total", protocol=LINE, close=close.name) for close in codes.CLOSES]
    opened = Counted("switchboard_opened_total", protocol=LINE)
    probe.act = {"opened": fail}
    await Client(probe).refused()
    probe.act = {}
    for _ in range(3):
        client = Client(probe)
        await client.opens()
        await client.disconnect()

    assert opened.grown == sum(close.grown for close in closes) == 3


@pytest.mark.parametrize(
    ("origin", "host", "admitted"),
    [
        (None, "localhost:8000", True),
        ("http://localhost:8000", "localhost:8000", True),
        ("https://good.example", "localhost:8000", True),
        ("https://evil.example", "localhost:8000", False),
        ("https://good.example.evil.com", "localhost:8000", False),
        ("null", "localhost:8000", False),
    ],
)
async def test_origins(
    probe: type[Probe],
    ledger: Ledger,
    caplog: pytest.LogCaptureFixture,
    origin: str | None,
    host: str,
    admitted: bool,
):
    counted = refusals(Refusal.ORIGIN)
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    client = Client(probe, headers)
    with caplog.at_level(logging.INFO):
        if admitted:
            await client.opens()
            await client.disconnect()
        else:
            assert await client.refused() == codes.ORIGIN.code
            assert "PROBE_ORIGINS" in caplog.text
    assert counted.grown == (not admitted)
    assert await ledger.is_clean()


async def test_seats_in_all(probe: type[Probe], worker: Worker, ledger: Ledger):
    worker.seats._total = 2
    crowded = refusals(Refusal.CROWDED)
    clients = [Client(probe) for _ in range(2)]
    for client in clients:
        await client.opens()
    assert await Client(probe).refused() == codes.CROWDED.code
    assert crowded.grown == 1

    await clients[0].disconnect()
    again = Client(probe)
    await again.opens()
    for client in (clients[1], again):
        await client.disconnect()
    assert await ledger.is_clean()


async def test_seats_of_one_peer(probe: type[Probe], worker: Worker, ledger: Ledger):
    worker.seats._per_peer = 1
    one = Client(probe)
    await one.opens()
    assert await Client(probe).refused() == codes.CROWDED.code
    other = Client(probe, client=["10.0.0.2", 4000])
    await other.opens()
    unknown = [Client(probe, client=None) for _ in range(2)]
    for client in unknown:
        await client.opens()

    for client in (one, other, *unknown):
        await client.disconnect()
    assert await ledger.is_clean()


async def test_a_draining_worker_refuses(probe: type[Probe], worker: Worker, ledger: Ledger):
    await worker.drain()

    assert await Client(probe).refused() == codes.RESTART.portable_code
    assert await ledger.is_clean()


async def test_a_handshake_that_was_admitted_just_before_the_drain_is_refused(
    probe: type[Probe], worker: Worker, ledger: Ledger
):
    async def drain(self: Probe) -> None:
        await self.worker.drain()

    probe.act = {"admit": drain}

    assert await Client(probe).refused() == codes.RESTART.portable_code
    assert probe.log == []  # `closed` knows nothing yet of what `opened` makes
    assert await ledger.is_clean()


async def test_a_client_that_leaves_during_the_handshake_is_no_error(
    probe: type[Probe], ledger: Ledger, caplog: pytest.LogCaptureFixture
):
    """uvicorn raises an OSError from `send` then."""

    async def send(message: dict[str, Any]) -> None:
        raise OSError("client disconnected")

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    acts: list[dict[str, Any]] = [{}, {"opened": fail}, {"admit": raises(Refused(codes.FORBIDDEN))}]
    for act in acts:
        probe.act = act
        await probe(LINE)(Client(probe).scope, receive, send)
    assert [
        record for record in caplog.records if record.levelno >= logging.ERROR and not record.exc_info
    ] == []
    assert caplog.text.count("Traceback") == 1  # of the handler that failed
    assert await ledger.is_clean()


async def test_protocols_start_once_and_one_that_fails_harms_nobody(probe: type[Probe], worker: Worker):
    runs = []

    class Good(Protocol):
        async def start(self) -> None:
            runs.append("good")
            await asyncio.sleep(0.01)

    class Bad(Protocol):
        async def start(self) -> None:
            runs.append("bad")
            raise RuntimeError("in start")

    worker.protocols = {LINE: worker.protocols[LINE], "bad": Bad(worker), "good": Good(worker)}
    clients = [Client(probe) for _ in range(3)]
    await asyncio.gather(*[client.opens() for client in clients])
    for client in clients:
        await client.disconnect()

    assert runs == ["bad", "good"]


async def test_the_first_socket_may_leave_while_the_worker_starts(probe: type[Probe], worker: Worker):
    began = asyncio.Event()
    runs = []

    class Slow(Protocol):
        async def start(self) -> None:
            began.set()
            await asyncio.sleep(0.05)
            runs.append("done")

    worker.protocols = {LINE: worker.protocols[LINE], "slow": Slow(worker)}
    first, second = Client(probe), Client(probe)
    leaving = asyncio.ensure_future(worker.start())
    await began.wait()
    leaving.cancel()
    await second.opens()
    await second.disconnect()
    await first.opens()
    await first.disconnect()

    assert runs == ["done"]


async def test_publishing_while_the_worker_starts_does_not_disturb_it(worker: Worker):
    """A process that serves nobody yet ends with its publication; one that is about to serve does not."""
    starting = asyncio.ensure_future(worker.start())
    await asyncio.sleep(0)
    for _ in range(5):
        await publish(("token:a",), "hello")
        await asyncio.sleep(0)
    await asyncio.wait_for(starting, 60)

    assert worker.serving


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("x" * 1000, True),
        ("x" * 1001, False),
        ("é" * 500, True),
        ("é" * 501, False),
        ("😀" * 250, True),
        ("😀" * 251, False),
    ],
)
async def test_a_frame_is_measured_in_bytes(
    probe: type[Probe], ledger: Ledger, settings, text: str, fits: bool
):
    settings.MAX_FRAME_BYTES = 1000
    counted = refusals(Refusal.TOO_BIG)
    client = Client(probe)
    await client.opens()
    await client.send_to(text)
    if fits:
        assert await client.receive_from(60) == f"echo {text}"
    else:
        assert await client.close_code() == codes.TOO_BIG.portable_code
        await client.send_to("ignored")
        await client.disconnect()
        assert probe.log == ["closed"]
    await client.disconnect()
    assert counted.grown == (not fits)
    assert await ledger.is_clean()


@pytest.mark.parametrize(("size", "close"), [(1000, codes.UNSUPPORTED_DATA), (1001, codes.TOO_BIG)])
async def test_binary_frames_are_refused(
    probe: type[Probe], ledger: Ledger, settings, size: int, close: Close
):
    settings.MAX_FRAME_BYTES = 1000
    client = Client(probe)
    await client.opens()
    await client.send_to(bytes_data=b"x" * size)

    assert await client.close_code() == close.portable_code
    await client.disconnect()
    assert await ledger.is_clean()
