"""The base socket: every way in, every way out, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any, ClassVar

import pytest
from channels.testing import WebsocketCommunicator
from django.db import OperationalError

from routing_app.core import codes, consumer
from routing_app.core.codes import Close, Refusal
from routing_app.core.connection import State
from routing_app.core.consumer import Consumer, Refused
from routing_app.core.database import Overloaded, query
from routing_app.core.models import ConnectionRecord
from routing_app.core.publishing import publish
from routing_app.core.subscriptions import LayerUnavailable
from routing_app.core.worker import Worker, current_worker, drop_worker, on_start
from routing_app.core.writer import EXTENSION
from tests.core.harness import PLAIN, Counted, replaced, until

pytestmark = pytest.mark.django_db(transaction=True)

LINE = "probe"


class Probe(Consumer):
    """A line that does what a test tells it to."""

    line = LINE
    encoder = PLAIN

    act: ClassVar[dict[str, Callable[[Probe], Awaitable[Any]]]]
    """What to do in `admit`, `opened`, `received`: by that name."""
    log: ClassVar[list[str]]
    seen: ClassVar[list[Probe]]

    async def admit(self) -> str | None:
        self.seen.append(self)
        return await self._act("admit")

    async def opened(self) -> None:
        self.connection.identity = "somebody"
        await self.worker.hub.subscribe(self.connection, "token:a", "token:b")
        self.worker.presence.arrive(self.connection)
        await self._act("opened")

    async def received(self, text: str) -> None:
        self.log.append(text)
        self.connection.send(f"echo {text}")
        await self._act("received")

    def closed(self) -> None:
        self.log.append("closed")
        if "closed" in self.act:
            raise RuntimeError("in closed")

    async def _act(self, name: str) -> Any:
        return await self.act[name](self) if name in self.act else None


class Client(WebsocketCommunicator):
    """A client of a fresh `Probe`."""

    def __init__(
        self, probe: type[Probe], headers: list[tuple[bytes, bytes]] | None = None, **scope: Any
    ) -> None:
        super().__init__(probe.as_asgi(), "/probe", headers)
        self.scope.update({"client": ["10.0.0.1", 4000], **scope})  # type: ignore[typeddict-item]

    async def opens(self) -> None:
        accepted, _ = await self.connect(5)
        assert accepted

    async def refused(self) -> int:
        """The code that a refused handshake was refused with."""
        accepted, code = await self.connect(5)
        assert not accepted
        assert isinstance(code, int)
        await self.ends()
        return code

    async def ends(self) -> None:
        """Wait until the consumer has ended by itself (`wait` would cancel it in the end)."""
        done, _ = await asyncio.wait([self.future], timeout=5)
        assert done
        await self.future

    async def close_code(self) -> int:
        """Read until the close."""
        while (message := await self.receive_output(5))["type"] != "websocket.close":
            pass
        code: int = message["code"]
        return code


@pytest.fixture
async def worker(settings) -> AsyncIterator[Worker]:
    """This process's worker, with its database and layer as the settings say."""
    settings.ORIGINS = {**settings.ORIGINS, LINE: ["self", "https://good.example"]}
    one = current_worker()
    yield one
    await one.stop()
    drop_worker()


@pytest.fixture
def probe() -> type[Probe]:
    """A line of its own for each test."""
    return type("Fresh", (Probe,), {"act": {}, "log": [], "seen": []})


class Ledger:
    """All that a connection leaves traces in, as it was before."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._open = Counted("switchboard_connections", line=LINE)
        self.opened = Counted("switchboard_opened_total", line=LINE)

    async def is_clean(self) -> bool:
        """True when nothing is left of any connection: hub, layer, seats, gauges, presence after commit."""
        worker = self._worker
        await worker.writes.settled()
        rows = await query(ConnectionRecord.objects.count)
        assert (worker.hub.connections(), worker.hub.addresses()) == ([], [])
        assert (worker.seats.taken, self._open.grown, rows) == (0, 0, 0)
        return True

    async def has(self, count: int) -> bool:
        await self._worker.writes.settled()
        rows = await query(ConnectionRecord.objects.present().count)
        assert (len(self._worker.hub.connections()), self._worker.seats.taken) == (count, count)
        assert (self._open.grown, rows) == (count, count)
        return True


@pytest.fixture
def ledger(worker: Worker) -> Ledger:
    return Ledger(worker)


def refusals(reason: Refusal) -> Counted:
    return Counted("switchboard_refused_total", line=LINE, reason=reason)


async def fail(probe: Probe) -> None:
    raise RuntimeError("in a handler")


def raises(error: Exception) -> Callable[[Probe], Awaitable[None]]:
    async def act(probe: Probe) -> None:
        raise error

    return act


# --- in -----------------------------------------------------------------------------------------------------


async def test_a_socket_that_is_served(probe: type[Probe], ledger: Ledger):
    async def greet(self: Probe) -> None:
        self.connection.send("hello")
        self.connection.send("there")

    async def choose(self: Probe) -> str:
        return "v1"

    probe.act = {"opened": greet, "admit": choose}
    client = Client(probe)
    assert await client.connect(5) == (True, "v1")
    assert [await client.receive_from(5) for _ in range(2)] == ["hello", "there"]
    await client.send_to("one")
    await client.send_to("two")
    assert [await client.receive_from(5) for _ in range(2)] == ["echo one", "echo two"]
    assert await ledger.has(1)

    await client.disconnect()
    assert probe.log == ["one", "two", "closed"]
    assert await ledger.is_clean()


async def test_what_is_published_while_the_handshake_is_unanswered_follows_it(
    probe: type[Probe], worker: Worker
):
    async def publish(self: Probe) -> None:
        await self.worker.hub.close("token:nobody")
        self.connection.send("first")
        await asyncio.sleep(0.01)

    probe.act = {"opened": publish}
    client = Client(probe)
    await client.opens()

    assert await client.receive_from(5) == "first"
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


async def test_closes_are_counted_for_what_was_opened(probe: type[Probe], worker: Worker):
    closes = [Counted("switchboard_closed_total", line=LINE, close=close.name) for close in codes.CLOSES]
    opened = Counted("switchboard_opened_total", line=LINE)
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

    assert await Client(probe).refused() == codes.RESTART.anywhere
    assert await ledger.is_clean()


async def test_a_handshake_that_was_admitted_just_before_the_drain_is_refused(
    probe: type[Probe], worker: Worker, ledger: Ledger
):
    async def drain(self: Probe) -> None:
        await self.worker.drain()

    probe.act = {"admit": drain}

    assert await Client(probe).refused() == codes.RESTART.anywhere
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
        await probe()(Client(probe).scope, receive, send)
    assert [
        record for record in caplog.records if record.levelno >= logging.ERROR and not record.exc_info
    ] == []
    assert caplog.text.count("Traceback") == 1  # of the handler that failed
    assert await ledger.is_clean()


async def test_start_hooks_run_once_and_one_that_fails_harms_nobody(probe: type[Probe], worker: Worker):
    runs = []

    async def good(worker: Worker) -> None:
        runs.append("good")
        await asyncio.sleep(0.01)

    async def bad(worker: Worker) -> None:
        runs.append("bad")
        raise RuntimeError("in a hook")

    from routing_app.core import worker as module

    with replaced(module, "_started", []):
        on_start(bad)
        on_start(good)
        clients = [Client(probe) for _ in range(3)]
        await asyncio.gather(*[client.opens() for client in clients])
    for client in clients:
        await client.disconnect()

    assert runs == ["bad", "good"]


async def test_the_first_socket_may_leave_while_the_worker_starts(probe: type[Probe], worker: Worker):
    began = asyncio.Event()
    runs = []

    async def slow(worker: Worker) -> None:
        began.set()
        await asyncio.sleep(0.05)
        runs.append("done")

    from routing_app.core import worker as module

    with replaced(module, "_started", [slow]):
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
    await asyncio.wait_for(starting, 5)

    assert worker.serving


# --- limits -------------------------------------------------------------------------------------------------


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
        assert await client.receive_from(5) == f"echo {text}"
    else:
        assert await client.close_code() == codes.TOO_BIG.anywhere
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

    assert await client.close_code() == close.anywhere
    await client.disconnect()
    assert await ledger.is_clean()


async def test_a_rate_slows_down_and_loses_nothing(probe: type[Probe], worker: Worker, settings):
    settings.MESSAGE_RATE, settings.MESSAGE_BURST = 50, 5
    client = Client(probe)
    await client.opens()
    begun = monotonic()
    for number in range(15):
        await client.send_to(str(number))

    assert [await client.receive_from(5) for _ in range(15)] == [f"echo {number}" for number in range(15)]
    assert monotonic() - begun >= 10 / 50 - 0.02
    await client.disconnect()


async def test_a_frame_that_waits_for_its_turn_is_not_handled_after_a_close(
    probe: type[Probe], worker: Worker, settings
):
    settings.MESSAGE_RATE, settings.MESSAGE_BURST = 10, 1
    client = Client(probe)
    await client.opens()
    await client.send_to("first")
    await client.send_to("second")
    await until(lambda: probe.log == ["first"])
    probe.seen[0].connection.close(codes.KICKED)
    assert await client.close_code() == codes.KICKED.code
    await asyncio.sleep(0.15)
    await client.disconnect()

    assert probe.log == ["first", "closed"]


# --- out ----------------------------------------------------------------------------------------------------


async def by_the_client(client: Client, probe: Probe) -> int | None:
    await client.send_input({"type": "websocket.disconnect", "code": 1001})
    return None


async def by_its_id(client: Client, probe: Probe) -> int | None:
    assert await probe.worker.hub.close(f"connection:{probe.connection.id}") == 1
    return codes.KICKED.code


async def by_its_address(client: Client, probe: Probe) -> int | None:
    assert await probe.worker.hub.close("token:b", codes.EXPIRED) == 1
    return codes.EXPIRED.code


async def by_drain(client: Client, probe: Probe) -> int | None:
    assert await probe.worker.drain() == 1
    return codes.RESTART.anywhere


async def by_an_exception(client: Client, probe: Probe) -> int | None:
    probe.act["received"] = fail
    await client.send_to("fail")
    return codes.INTERNAL.anywhere


async def by_a_service_that_is_down(client: Client, probe: Probe) -> int | None:
    probe.act["received"] = raises(OperationalError("gone"))
    await client.send_to("fail")
    return codes.UNAVAILABLE.code


async def by_a_refusal(client: Client, probe: Probe) -> int | None:
    probe.act["received"] = raises(Refused(codes.EXPIRED))
    await client.send_to("fail")
    return codes.EXPIRED.code


async def by_binary(client: Client, probe: Probe) -> int | None:
    await client.send_to(bytes_data=b"x")
    return codes.UNSUPPORTED_DATA.anywhere


WAYS = [
    by_the_client,
    by_its_id,
    by_its_address,
    by_drain,
    by_an_exception,
    by_a_service_that_is_down,
    by_a_refusal,
    by_binary,
]


@pytest.mark.parametrize("closed_fails", [False, True], ids=["", "closed() fails"])
@pytest.mark.parametrize("way", WAYS)
async def test_every_way_out_cleans_up_once(
    probe: type[Probe],
    ledger: Ledger,
    worker: Worker,
    way: Callable[[Client, Probe], Awaitable[int | None]],
    closed_fails: bool,
):
    client = Client(probe)
    await client.opens()
    await until(lambda: probe.seen[0].connection.outbox.corked is False)
    assert await ledger.has(1)
    if closed_fails:
        probe.act["closed"] = fail
    code = await way(client, probe.seen[0])
    if code is not None:
        assert await client.close_code() == code
        await client.send_input({"type": "websocket.disconnect", "code": code})
    await client.ends()

    assert probe.log.count("closed") == 1
    assert probe.seen[0].connection.state is State.CLOSED
    assert await ledger.is_clean()
    assert await client.receive_nothing()


async def test_a_cancelled_task_cleans_up(probe: type[Probe], ledger: Ledger):
    client = Client(probe)
    await client.opens()
    client.future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client.future

    assert probe.log == ["closed"]
    assert await ledger.is_clean()


async def test_300_sockets_that_vanish_at_once_leave_nothing_behind(probe: type[Probe], ledger: Ledger):
    clients = [Client(probe) for _ in range(300)]
    await asyncio.gather(*[client.opens() for client in clients])
    assert await ledger.has(300)
    await asyncio.gather(*[client.disconnect(timeout=10) for client in clients])

    assert probe.log.count("closed") == 300
    assert await ledger.is_clean()


async def test_a_client_that_does_not_answer_our_close_is_not_waited_for(
    probe: type[Probe], ledger: Ledger, caplog: pytest.LogCaptureFixture
):
    with replaced(consumer, "CLOSE_WAIT_SECONDS", 0.05):
        client = Client(probe)
        await client.opens()
        await ledger.has(1)
        probe.seen[0].connection.close(codes.KICKED)
        assert await client.close_code() == codes.KICKED.code
        await client.ends()

    assert probe.log == ["closed"]
    assert caplog.text == ""
    assert await ledger.is_clean()


async def test_a_handler_that_hangs_does_not_outlive_its_connection_for_long(
    probe: type[Probe], ledger: Ledger
):
    async def hang(self: Probe) -> None:
        await asyncio.Event().wait()

    probe.act = {"received": hang}
    with replaced(consumer, "CLOSE_WAIT_SECONDS", 0.05):
        client = Client(probe)
        await client.opens()
        await client.send_to("hang")
        await until(lambda: probe.log == ["hang"])
        probe.seen[0].connection.close(codes.KICKED)
        await client.ends()

    assert probe.log == ["hang", "closed"]
    assert await ledger.is_clean()


async def test_a_timeout_of_a_handler_is_an_error_of_that_handler(probe: type[Probe], ledger: Ledger):
    probe.act = {"received": raises(TimeoutError())}
    client = Client(probe)
    await client.opens()
    await client.send_to("x")

    assert await client.close_code() == codes.INTERNAL.anywhere
    await client.ends()
    assert await ledger.is_clean()


async def test_the_servers_own_writer_is_used_where_it_is_offered(probe: type[Probe], worker: Worker):
    calls: list[Any] = []

    class FrameWriter:
        def write(self, data: bytes) -> None:
            calls.append(data)

        def held(self) -> int:
            return 0

        def close(self, code: int, reason: str) -> None:
            calls.append(code)

        def abort(self) -> int:
            calls.append("abort")
            return 0

    client = Client(probe, extensions={EXTENSION: FrameWriter()})
    await client.opens()
    await client.send_to("x")
    await client.send_to(bytes_data=b"x")
    await until(lambda: len(calls) == 2)
    await client.disconnect()

    assert calls == [b"\x81\x06echo x", codes.UNSUPPORTED_DATA.code]


async def test_no_subscription_is_left_in_the_layer(probe: type[Probe], worker: Worker):
    """Only what the process itself hears stays: the worker's own address, and those of lines' start hooks."""
    await worker.start()
    subscriptions = worker.relay._subscriptions
    own = set(subscriptions._held)
    assert f"worker:{worker.id}" in own
    client = Client(probe)
    await client.opens()
    assert subscriptions._held > own
    await client.disconnect()
    await until(lambda: not subscriptions._dropped)

    assert subscriptions._held == own
