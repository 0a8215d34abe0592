"""One stream in this process: what may happen between its request and its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

from routing_app.core.access.grants import UNBOUNDED, Grant
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import RESTART, SLOW, Refusal
from routing_app.core.delivery.connection import Connection
from routing_app.core.publishing import publish
from routing_app.core.streams.store import StoreUnavailable
from routing_app.core.worker import Worker, current_worker, drop_worker
from routing_app.stream import access
from routing_app.stream.endpoint import serve
from switchboard_server import RESPONSE
from tests.core.harness import Counted, lost
from tests.stream.reader import Event, Parser

pytestmark = pytest.mark.django_db(transaction=True)

A, B = "channel:a", "channel:b"
EVENT_SOURCE = {"last-event-id": "x", "accept": "text/event-stream"}


class Client(ApplicationCommunicator):
    """A client of the application alone."""

    def __init__(self, *addresses: str, headers: dict[str, str] | None = None, **extensions: Any) -> None:
        raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        query = "&".join(f"address={address}" for address in addresses or (A,))
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/stream",
            "query_string": query.encode(),
            "headers": raw,
            "client": ["10.0.0.1", 4000],
            "extensions": extensions,
        }
        super().__init__(serve, scope)
        self.headers: dict[str, str] = {}
        self.parser = Parser()
        self._lines: list[str] = []
        self._rest = ""

    async def answer(self) -> int:
        """Send the request; the status of its answer."""
        await self.send_input({"type": "http.request", "body": b"", "more_body": False})
        start = await self.receive_output(60)
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return int(start["status"])

    async def opened(self) -> None:
        """Send the request, and read up to the first position."""
        assert await self.answer() == 200
        await self.part()

    async def part(self) -> list[Event]:
        """The events of the next part of the answer."""
        text = (await self.receive_output(60))["body"].decode()
        found = [self.parser.feed(line) for line in text.split("\n")[:-1]]
        return [event for event in found if event is not None]

    async def refused(self) -> Any:
        """The whole body of a refusal."""
        return json.loads((await self.receive_output(60))["body"])

    async def ends(self) -> None:
        """Wait until the application has ended by itself."""
        done, _ = await asyncio.wait([self.future], timeout=60)
        assert done
        await self.future


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    async def anybody(request: Any) -> Grant:
        return UNBOUNDED

    monkeypatch.setattr(access, "grant_of", anybody)
    one = current_worker()
    yield one
    await one.stop()
    drop_worker()


@pytest.fixture
def attaching(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Connection], Any]], None]:
    """Has something happen while a connection subscribes."""

    def patch(act: Callable[[Connection], Any]) -> None:
        attach = worker.streams.replays.attach

        async def other(connection: Connection, *arguments: Any) -> Any:
            attachment = await attach(connection, *arguments)
            await act(connection)
            return attachment

        monkeypatch.setattr(worker.streams.replays, "attach", other)

    return patch


def is_clean(worker: Worker) -> bool:
    """True when nothing is left of any stream."""
    return (worker.hub.connections(), worker.hub.addresses(), worker.seats.taken) == ([], [], 0)


async def test_a_client_that_leaves_leaves_nothing_behind(worker: Worker):
    client = Client()
    await client.opened()
    assert worker.seats.taken == 1
    await client.send_input({"type": "http.disconnect"})
    await client.ends()
    assert is_clean(worker)


async def test_a_gap_of_the_layer_is_told_in_between(worker: Worker):
    client = Client(A, B)
    await client.opened()
    await publish([A], 1)
    assert [event.data["message"] for event in await client.part()] == [1]
    worker.hub.tell_gap()
    [gap] = await client.part()
    assert (gap.name, gap.data, gap.id) == ("gap", {"addresses": [A, B]}, client.parser.last_event_id)
    await publish([B], 2)
    assert [event.data["message"] for event in await client.part()] == [2]


async def test_messages_before_the_answer_follow_the_gap(worker: Worker, attaching):
    async def publish_now(connection: Connection) -> None:
        await publish([A], "early")

    attaching(publish_now)
    client = Client(headers={"last-event-id": "x"})
    assert await client.answer() == 200
    [gap] = await client.part()
    [event] = await client.part()
    assert (gap.name, gap.data, event.data["message"]) == ("gap", {"addresses": [A]}, "early")


async def test_a_comment_comes_again_and_again(worker: Worker, settings):
    settings.STREAM_COMMENT_SECONDS = 0.01
    client = Client()
    await client.opened()
    for count in (1, 2, 3):
        assert await client.part() == []
        assert client.parser.comments == count


async def test_a_drain_ends_it_in_order(worker: Worker):
    client = Client()
    await client.opened()
    await publish([A], "last")
    draining = asyncio.create_task(worker.drain())
    assert [event.data["message"] for event in await client.part()] == ["last"]
    assert await client.receive_output(60) == {"type": "http.response.body", "body": b"", "more_body": False}
    await client.ends()
    await draining
    assert is_clean(worker)


async def test_a_close_while_the_answer_begins_ends_it(worker: Worker):
    async def closing(scope: Any, receive: Any, send: Any) -> None:
        async def send_and_close(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                worker.hub.connections()[0].close(RESTART)

        await serve(scope, receive, send_and_close)

    client = Client()
    client.application = closing
    await client.opened()
    assert (await client.receive_output(60))["more_body"] is False
    await client.ends()
    assert is_clean(worker)


# --- refusals ---------------------------------------------------------------------------------------------

OUT = "A backing service is down, try again later."
SEATS = 3


async def refusal(worker: Worker, attaching, how: str) -> None:
    """Make the server refuse streams."""

    async def act(connection: Connection) -> None:
        match how:
            case "drain in between":
                connection.close(RESTART)
            case "layer":
                raise LayerUnavailable("down")
            case "store":
                raise StoreUnavailable("down")
            case "fault":
                raise RuntimeError("a fault")

    worker.draining = how == "drain"
    if how == "seats":
        assert [worker.seats.take("10.0.0.9") for _ in range(SEATS)] == [True] * SEATS
    attaching(act)


REFUSALS = {
    "drain": ("Server restarts.", "1", Refusal.UNAVAILABLE),
    "drain in between": ("Server restarts.", "1", Refusal.FORBIDDEN),
    "layer": (OUT, "5", Refusal.UNAVAILABLE),
    "store": (OUT, "5", Refusal.UNAVAILABLE),
    "fault": ("Internal error.", "5", Refusal.EXCEPTION),
    "seats": ("Too many connections.", "5", Refusal.CROWDED),
}


@pytest.mark.parametrize("how", REFUSALS)
async def test_a_refusal_for_now_says_when_to_come_back(worker: Worker, attaching, how: str):
    words, seconds, reason = REFUSALS[how]
    counted = Counted("switchboard_refused_total", protocol="stream", reason=reason)
    worker.seats._total = SEATS
    await refusal(worker, attaching, how)
    client = Client()
    assert await client.answer() == 503
    assert client.headers["retry-after"] == seconds
    assert await client.refused() == {"detail": words}
    await client.ends()
    assert counted.grown == 1
    assert worker.hub.connections() == []

    # EventSource gives up for good at any other status than 200.
    again = Client(headers=EVENT_SOURCE)
    await again.opened()
    await again.ends()
    assert again.parser.retry == int(seconds) * 1000
    assert (again.parser.last_event_id, again.headers["content-type"]) == ("", "text/event-stream")


# --- readers that are slow --------------------------------------------------------------------------------


class Slow(Client):
    """A client whose server takes nothing more behind the beginning."""

    def __init__(self, **extensions: Any) -> None:
        super().__init__(**extensions)
        self.reads = asyncio.Event()
        self.taken = 0
        self.application = self._blocking

    async def _blocking(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_slowly(message: Any) -> None:
            self.taken += 1
            if self.taken > 2:
                await self.reads.wait()
            await send(message)

        await serve(scope, receive, send_slowly)


async def overflow(worker: Worker, client: Slow) -> Connection:
    """Publish until the client counts as slow."""
    await client.opened()
    [connection] = worker.hub.connections()
    for number in range(worker.limits.outbox_frames + 10):
        await publish([A], number)
        await asyncio.sleep(0)
    assert connection.close_sent is SLOW
    return connection


@pytest.fixture
def small(worker: Worker) -> None:
    worker.limits = type(worker.limits)(outbox_bytes=2**20, outbox_frames=20)


async def test_a_slow_reader_is_ended_and_what_it_lost_is_counted(worker: Worker, small: None):
    slow, closed = lost("slow"), Counted("switchboard_closed_total", protocol="stream", close="slow")
    client = Slow()
    await overflow(worker, client)
    assert slow.grown == 20
    client.reads.set()

    assert [event.data["message"] for event in await client.part()] == [0]
    assert await client.receive_output(60) == {"type": "http.response.body", "body": b"", "more_body": False}
    await client.ends()
    assert closed.grown == 1
    assert is_clean(worker)


class Response:
    """Our server's extension, which holds all that is written but the beginning."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._written: list[bytes] = []
        self.ended = False

    def write(self, data: bytes) -> None:
        self._written.append(data)

    def held(self) -> int:
        return sum(map(len, self._written[1:]))

    def end(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self._client.input_queue.put_nowait({"type": "http.disconnect"})


async def test_our_server_drops_a_slow_reader(worker: Worker):
    worker.limits = type(worker.limits)(outbox_bytes=1000, outbox_frames=1000)
    slow, client = lost("slow"), Client()
    response = client.scope["extensions"][RESPONSE] = Response(client)
    assert await client.answer() == 200
    [connection] = worker.hub.connections()
    count = 0
    while connection.close_sent is None:
        await publish([A], count)
        await asyncio.sleep(0)
        count += 1

    assert connection.close_sent is SLOW
    assert slow.grown == count > 3
    await client.ends()
    assert (is_clean(worker), response.ended) == (True, False)


async def test_our_server_is_told_the_end(worker: Worker):
    client = Client()
    response = client.scope["extensions"][RESPONSE] = Response(client)
    assert await client.answer() == 200
    await worker.drain()
    await client.ends()
    assert (is_clean(worker), response.ended) == (True, True)
