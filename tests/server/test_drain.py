"""Stopping: every client gets its code, every clean-up runs, health goes on being answered, exit 0."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from switchboard_server import drain
from switchboard_server.drain import LAST_REQUESTS_SECONDS, Drain
from switchboard_server.websocket import SocketState
from tests.server.plain import PATIENT, Plain, PlainFactory, Raw, begin_post, closed_with, handshake
from tests.services.ports import LOOPBACK, answers
from tests.services.waiting import until

pytestmark = pytest.mark.once

CLIENTS = 500
Begin = Callable[[Plain], Awaitable[None]]
"""Has a server begin to drain; returns when it does."""


async def open_many(server: Plain, count: int) -> list[ClientConnection]:
    return list(await asyncio.gather(*(server.open("/cleans") for _ in range(count))))


async def refusal(server: Plain, path: str) -> tuple[int, str | None]:
    """Status and `Retry-After` of the answer."""

    def get() -> tuple[int, str | None]:
        connection = HTTPConnection(LOOPBACK, server.port, timeout=60)
        with closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.headers["Retry-After"]

    return await asyncio.to_thread(get)


async def stopped_within(server: Plain, path: str, said: str) -> tuple[int, tuple[int, str | None]]:
    """Stop a server while a request says that it is under way: its exit code, and the request's refusal."""
    asking = asyncio.create_task(refusal(server, path))
    await until(lambda: said in server.process.log_text())
    server.process.send(signal.SIGTERM)
    return await asyncio.to_thread(server.process.wait, 60), await asking


async def is_draining(server: Plain) -> bool:
    return bool((await server.stats())["draining"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_500_clients_get_1012_and_every_clean_up_runs(
    plain: PlainFactory, tmp_path: Path, number: signal.Signals
) -> None:
    cleaned = tmp_path / "cleaned"
    server = plain("--drain-seconds", "60", environ={"CLEANED_FILE": str(cleaned)})
    clients = await open_many(server, CLIENTS)
    server.process.send(number)
    assert [await closed_with(client) for client in clients] == [1012] * CLIENTS
    assert await asyncio.to_thread(server.process.wait, 60) == 0
    assert len(cleaned.read_text()) == CLIENTS


async def test_health_is_answered_and_new_sockets_are_refused_while_draining(plain: PlainFactory) -> None:
    server = plain("--drain-seconds", "60")
    unfinished = await begin_post(server.port, "/stats")
    assert not (await server.stats())["draining"]
    server.process.send(signal.SIGTERM)
    await until(partial(is_draining, server))
    with pytest.raises(InvalidStatus) as refused:
        async with server.open("/echo"):
            pass
    assert refused.value.response.status_code == 503
    unfinished.writer.write(b"b")
    assert await asyncio.to_thread(server.process.wait, 60) == 0
    await unfinished.close()


async def test_a_request_under_way_is_answered(plain: PlainFactory) -> None:
    server = plain("--drain-seconds", "60")
    slow = asyncio.create_task(server.stats("/wait_to_answer"))
    await until(server.has_waiting)
    server.process.send(signal.SIGTERM)
    await until(partial(is_draining, server))
    await server.stats("/go")
    assert "pid" in await slow
    assert await asyncio.to_thread(server.process.wait, 60) == 0


async def test_a_request_whose_body_is_still_coming_is_answered(plain: PlainFactory) -> None:
    server = plain("--drain-seconds", "60")
    unfinished = await begin_post(server.port, "/stats")
    await server.stats()
    server.process.send(signal.SIGTERM)
    await until(partial(is_draining, server))
    unfinished.writer.write(b"b")
    answer = await asyncio.wait_for(unfinished.reader.read(), 60)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"draining": true' in answer
    await unfinished.close()
    assert await asyncio.to_thread(server.process.wait, 60) == 0


async def test_applications_that_have_failed_are_not_waited_for(plain: PlainFactory) -> None:
    server = plain("--drain-seconds", "60", "--application-close-timeout", "60")
    _, writer = await asyncio.open_connection(LOOPBACK, server.port)
    writer.write(b"GET /raise HTTP/1.1\r\nHost: test\r\n\r\n")
    await until(lambda: "a handler failed" in server.process.log_text())
    server.process.send(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, 60) == 0
    writer.close()


async def test_handlers_that_do_not_end_are_cancelled_at_the_limit_and_not_before(
    plain: PlainFactory,
) -> None:
    server = plain("--drain-seconds", "2")
    async with server.open("/stuck") as client:
        start = time.monotonic()
        server.process.send(signal.SIGTERM)
        assert await closed_with(client) == 1012
        assert await asyncio.to_thread(server.process.wait, 60) == 0
        assert time.monotonic() - start > 1.9


async def test_a_thread_that_waits_for_the_loop_ends_with_it(plain: PlainFactory) -> None:
    """Its task belongs to no request that the server knows."""
    server = plain("--drain-seconds", "0.5")
    assert await stopped_within(server, "/waits", "waits for the loop") == (0, (503, "1"))
    assert "the wait was cancelled" in server.process.log_text()


async def test_a_thread_that_does_not_end_is_left_behind(plain: PlainFactory) -> None:
    server = plain("--drain-seconds", "0.5")
    assert await stopped_within(server, "/sleeps", "sleeps") == (1, (503, "1"))
    assert "threads did not end within 12 s and are left behind" in server.process.log_text()


async def test_a_handshake_that_is_not_answered_within_the_limit_is_refused(plain: PlainFactory) -> None:
    server = plain("--drain-seconds", "0.5")
    reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
    raw = Raw(reader, writer)
    opening = asyncio.create_task(raw.request(handshake("/sleep")))
    await asyncio.sleep(0)
    await server.stats()  # on a connection that was made later, so the other one has been read
    server.process.send(signal.SIGTERM)
    await opening
    assert raw.status == 503
    assert await asyncio.to_thread(server.process.wait, 60) == 0
    assert "1 handlers did not end within the limit and are cancelled" in server.process.log_text()
    await raw.close()


async def test_a_second_signal_ends_at_once(plain: PlainFactory) -> None:
    server = plain("--drain-seconds", "30")
    stuck = await server.raw("/stuck")
    server.process.send(signal.SIGTERM)
    await until(partial(is_draining, server))
    server.process.send(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, 60) == 1
    await stuck.close()


async def by_an_operator(server: Plain) -> None:
    await refusal(server, "/stop")


async def by_a_replacement(server: Plain) -> None:
    server.process.send(signal.SIGHUP)
    await until(lambda: not answers(server.port))


async def by_its_supervisor(server: Plain) -> None:
    server.process.send(signal.SIGTERM)
    await until(partial(is_draining, server))


@pytest.mark.parametrize(
    ("begin", "number"),
    [
        (by_an_operator, signal.SIGTERM),
        (by_an_operator, signal.SIGINT),
        (by_an_operator, signal.SIGHUP),
        (by_a_replacement, signal.SIGTERM),
        (by_a_replacement, signal.SIGHUP),
        (by_its_supervisor, signal.SIGHUP),
    ],
    ids=lambda case: case.name if isinstance(case, signal.Signals) else case.__name__,
)
async def test_a_drain_goes_on_at_a_signal_that_is_not_the_second_one_to_end(
    plain: PlainFactory, begin: Begin, number: signal.Signals
) -> None:
    server = plain("--drain-seconds", "600")
    unfinished = await begin_post(server.port, "/stats")
    async with server.open("/cleans") as client:
        await begin(server)
        server.process.send(number)
        assert await closed_with(client) == 1012
    unfinished.writer.write(b"b")
    assert await asyncio.to_thread(server.process.wait, 60) == 0
    await unfinished.close()


@pytest.mark.parametrize("begin", [by_an_operator, by_a_replacement], ids=lambda begin: begin.__name__)
async def test_two_signals_to_end_are_heard_whatever_began_the_drain(
    plain: PlainFactory, begin: Begin
) -> None:
    server = plain("--drain-seconds", "600")
    unfinished = await begin_post(server.port, "/stats")
    await server.stats()
    await begin(server)

    def ended() -> bool:
        server.process.send(signal.SIGTERM)
        return server.process.exit_code is not None

    await until(ended)
    assert server.process.exit_code == 1
    await unfinished.close()


async def test_clients_that_do_not_answer_the_close_do_not_hold_up_the_end(plain: PlainFactory) -> None:
    server = plain("--drain-seconds", "20")
    mute = [await server.raw("/cleans") for _ in range(20)]
    server.process.send(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, 60) == 0
    for raw in mute:
        assert await raw.read_close(answer=False) == 1012
        await raw.close()


async def test_a_handshake_under_way_is_finished_before_its_socket_is_closed(plain: PlainFactory) -> None:
    server = plain("--drain-seconds", "60", "--websocket_connect_timeout", "60")
    opening = asyncio.create_task(server.raw("/wait_to_accept"))
    await until(server.has_waiting)
    go = await begin_post(server.port, "/go")
    await server.stats()
    server.process.send(signal.SIGHUP)  # as a supervisor tells a worker whose place another has taken
    await until(lambda: not answers(server.port))
    go.writer.write(b"b")
    raw = await opening
    assert raw.status == 101
    assert await raw.read_close() == 1012
    assert await asyncio.to_thread(server.process.wait, 60) == 0
    await raw.close()
    await go.close()


async def test_a_connection_that_was_accepted_before_the_drain_is_still_served(plain: PlainFactory) -> None:
    """Its client has connected, and cannot know that this worker goes: it has not asked for anything yet."""
    server = plain("--drain-seconds", "60", environ=PATIENT)
    reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
    old = await server.raw("/cleans")
    server.process.send(signal.SIGHUP)
    await until(lambda: not answers(server.port))
    await asyncio.sleep(LAST_REQUESTS_SECONDS + 0.1)  # now nothing else holds the server up
    raw = Raw(reader, writer)
    await raw.request(handshake("/cleans"))
    assert raw.status == 101
    for one in (old, raw):
        assert await one.read_close() == 1012
        await one.close()
    assert await asyncio.to_thread(server.process.wait, 60) == 0


class Retiring:
    """As much of a server as its drain looks at: it has sockets, or a client that has not asked yet."""

    def __init__(self, states: Sequence[SocketState], awaiting: bool) -> None:
        self.sockets = [SimpleNamespace(state=state) for state in states]
        self.is_awaiting = awaiting
        self.looks = 0
        self.lifespan = SimpleNamespace(drain=self._drain, shutdown=self._drain)
        self.drained = asyncio.Event()
        self.answering = False
        self.stopped = asyncio.Event()

    @property
    def awaiting(self) -> bool:
        self.looks += 1
        return self.is_awaiting

    async def _drain(self) -> None:
        self.drained.set()

    def applications(self) -> list[Any]:
        return []

    def begin_draining(self, refuse: bool) -> None:
        assert not refuse

    def stop_listening(self) -> None:
        """It never did listen."""

    def stop(self) -> None:
        self.stopped.set()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a drain wait for clients alone."""
    monkeypatch.setattr(drain, "LAST_REQUESTS_SECONDS", 0)
    monkeypatch.setattr(drain, "PAUSE", 0)
    monkeypatch.setattr(drain, "FIRST_REQUEST_SECONDS", 3600)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("states", "awaiting"),
    [([], True), ([SocketState.HANDSHAKE], False)],
    ids=["that has not asked", "that waits for an answer"],
)
async def test_the_application_serves_on_while_a_client_is_on_its_way_to_a_worker_that_is_replaced(
    states: Sequence[SocketState], awaiting: bool
) -> None:
    """Once it is told of the drain it takes nobody in any more."""
    retiring: Any = Retiring(states, awaiting)
    Drain(retiring, 3600, retire=True).start()
    await until(lambda: retiring.looks > 2)
    assert not retiring.drained.is_set()
    retiring.is_awaiting = False
    retiring.sockets.clear()
    await until(retiring.stopped.is_set)
    assert retiring.drained.is_set()


@pytest.mark.usefixtures("at_once")
async def test_a_client_that_never_asks_holds_up_no_replacement_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drain, "FIRST_REQUEST_SECONDS", 0)
    retiring: Any = Retiring([SocketState.HANDSHAKE], awaiting=True)
    Drain(retiring, 3600, retire=True).start()
    await until(retiring.drained.is_set)
    retiring.sockets.clear()
    await until(retiring.stopped.is_set)
