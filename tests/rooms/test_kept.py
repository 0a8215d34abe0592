"""Events that are kept of a session whose client may come back, and sessions that are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from routing_app.core.access.grants import NOBODY
from routing_app.core.askable import ClientGone
from routing_app.core.codes import INTERNAL, NORMAL, RESTART, SLOW, TAKEN_OVER, Close
from routing_app.core.delivery.connection import Peer
from routing_app.core.delivery.frame import BinaryFrame, Frame
from routing_app.core.worker import current_worker
from routing_app.engineio.frames import DataFrame, Form, packet_of
from routing_app.engineio.session import EngineOptions, EngineSession
from routing_app.engineio.socketio.keeping import HELD, KeepingWriter
from routing_app.engineio.socketio.kept import ABSENT, MAX_KEPT, KeptEvents
from routing_app.engineio.socketio.recoverable import RecoverableSocket, Waiting
from routing_app.engineio.socketio.recovery import Recovery
from routing_app.rooms.namespaces import NAMESPACES
from tests.services.waiting import until

LARGE = 10**9


def packet(number: int, text: str = "") -> Frame:
    return Frame(f'42/x,["e","{text}","t.{number}"]')


def kept(count: int = 0, max_bytes: int = LARGE, before: Any = ABSENT) -> KeptEvents:
    events = KeptEvents(max_bytes, before)
    for number in range(1, count + 1):
        add(events, packet(number))
    return events


def add(events: KeptEvents, *packets: Frame) -> None:
    events.add(packets, sum(packet.size for packet in packets))


def texts(events: KeptEvents, position: int) -> list[str]:
    return [one.text for one in events.after(position) if isinstance(one, Frame)]


def test_what_follows_a_position() -> None:
    events = kept(5)
    assert texts(events, 3) == [packet(4).text, packet(5).text]
    assert texts(events, 0) == [packet(number).text for number in range(1, 6)]
    assert texts(events, 5) == []
    assert [events.position(f"t.{number}") for number in range(7)] == [None, 1, 2, 3, 4, 5, None]


def test_the_oldest_are_forgotten_by_number_and_by_size() -> None:
    many = kept(MAX_KEPT + 2)
    assert (many.holds_after(1), many.holds_after(2)) == (False, True)
    assert [many.position(f"t.{number}") for number in (1, 2, 3)] == [None, 2, 3]
    large = kept(9, max_bytes=8 * packet(1).size)
    assert (len(large), large.holds_after(1), large.holds_after(2)) == (7, False, True)
    nothing_fits = kept(2, max_bytes=0)
    assert [nothing_fits.position(one) for one in (ABSENT, "t.1", "t.2")] == [None, None, 2]


def test_many_events_that_fell_out_take_no_place_of_others() -> None:
    events = kept(5 * MAX_KEPT, max_bytes=2 * MAX_KEPT * packet(9999).size)
    assert events.holds_after(4 * MAX_KEPT)


def test_a_sweep_forgets_what_was_there_long_ago() -> None:
    events = kept(3)
    events.sweep(now=0.0, age=10.0)
    add(events, packet(4))
    events.sweep(now=5.0, age=10.0)
    events.sweep(now=9.9, age=10.0)
    assert len(events) == 4
    events.sweep(now=10.0, age=10.0)
    assert texts(events, 0) == [packet(3).text, packet(4).text]
    assert [events.position(f"t.{number}") for number in (2, 3)] == [None, 3]
    events.sweep(now=15.0, age=10.0)
    assert len(events) == 1
    assert [events.position(f"t.{number}") for number in (3, 4)] == [None, 4]


def test_an_offset_that_was_not_sent_is_none() -> None:
    events = kept(3)
    events.sent = 2
    assert [events.position(f"t.{number}") for number in (2, 3)] == [2, None]


def test_who_names_no_offset_has_received_nothing() -> None:
    assert kept(3).position(ABSENT) == 0
    assert kept(MAX_KEPT + 1).position(ABSENT) is None


def test_who_still_names_the_offset_with_which_it_came_has_received_nothing() -> None:
    assert kept(3, before="s.7").position("s.7") == 0
    assert kept(3, before="s.7").position("s.8") is None
    assert kept(3, before="s.7").position(ABSENT) is None
    assert kept(3).position("s.7") is None
    assert kept(3, before=7).position(7) is None


@pytest.mark.parametrize("offset", [None, 1, 0.5, True, [], {}, b"t.1", "", "1", "t", "t.", "t.01", "t.1 "])
def test_no_offset_is_no_position(offset: Any) -> None:
    assert kept(3).position(offset) is None


class Wire:
    """A carrier whose client reads only when the test lets it."""

    form = Form(4, text_only=False)

    def __init__(self) -> None:
        self.closed_with: Close | None = None
        self.frames: list[Frame] = []
        self.read = 0

    @property
    def writable(self) -> bool:
        return self.closed_with is None

    def send(self, packet: Any) -> None:
        self.write([Frame(packet)])

    def write(self, frames: Sequence[Frame]) -> None:
        self.frames += frames

    def held_bytes(self) -> int:
        return sum(frame.size for frame in self.frames[self.read :])

    def held_frames(self) -> int:
        return 0

    def close(self, close: Close) -> None:
        self.closed_with = close

    abort = close


def event(number: int, size: int = 0) -> list[Frame]:
    """An event, or one with two attachments."""
    if number % 5:
        return [Frame(f'42/x,["e",{number},"{"x" * size}","t.{number}"]')]
    data = str(number).encode()
    text = f'452-/x,["e",{number},{{"_placeholder":true,"num":0}},"t.{number}"]'
    return [Frame(text), *[DataFrame(data, data)] * 2]


class Reader:
    """A client: reads packets one by one, and keeps the last offset."""

    def __init__(self) -> None:
        self.offset: Any = ABSENT
        self.received: list[int] = []
        self.acks: list[str] = []

    def take(self, frames: Sequence[Frame]) -> None:
        waiting = iter(frames)
        for frame in waiting:
            assert not isinstance(frame, BinaryFrame)
            head, _, rest = frame.text.partition("/x,")
            if head == "43":
                self.acks.append(rest)
            if head not in ("42", "452-"):
                continue
            *arguments, offset = json.loads(rest)
            if head == "452-":
                data = [next(waiting, None) for _ in range(2)]
                if None in data:  # the cut came between a packet and its attachments
                    return
                assert [packet_of(one) for one in data if one] == [str(arguments[1]).encode()] * 2
            self.received.append(arguments[1])
            self.offset = offset


class Scene:
    """A session, its client, and a connection that is lost and found."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.writer = KeepingWriter(self.wire, "/x", nothing, KeptEvents(LARGE))
        self.reader = Reader()
        self.written = 0
        self.away = self.over = False

    def write(self, count: int) -> None:
        first, self.written = self.written + 1, self.written + count
        frames = [frame for number in range(first, self.written + 1) for frame in event(number)]
        self.writer.write([*frames, Frame("43/x,7[]")])

    def read(self, count: int) -> None:
        if not self.away:
            end = min(len(self.wire.frames), self.wire.read + count)
            while end < len(self.wire.frames) and isinstance(self.wire.frames[end], BinaryFrame):
                end += 1
            self._take(end)

    def cut(self, count: int) -> None:
        """Some of what is on the way still comes; where `count` is even, this end does not notice."""
        if not self.away:
            self._take(self.wire.read + count)
            self.away = True
            if count % 2:
                self.writer.wait(Waiting(NORMAL, self.writer.kept, nothing))

    def back(self, _: int = 0) -> None:
        """It is whole exactly where everything that follows is among the last MAX_KEPT."""
        if not self.away:
            return
        position = self.writer.kept.position(self.reader.offset)
        assert (position is None) == (self.written - len(self.reader.received) > MAX_KEPT)
        if position is None:
            self.over = True
        else:
            self.wire, self.away = Wire(), False
            self.writer.resume(self.wire, "40/x,{}", position)

    def end(self) -> None:
        """The client comes back, if it is away, and reads all."""
        self.back()
        while not self.over and len(self.reader.received) < self.written:
            self._take(len(self.wire.frames))
            self.writer._catch_up()
        assert self.reader.received == list(range(1, len(self.reader.received) + 1))
        assert self.over or self.writer.held_bytes() == self.wire.held_bytes()
        assert self.over or self.writer.held_frames() == 0
        self.writer.stop()

    def _take(self, end: int) -> None:
        self.reader.take(self.wire.frames[self.wire.read : end])
        self.wire.read = min(end, len(self.wire.frames))


def nothing() -> None:
    """Nobody is told."""


STEP = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 40) | st.integers(200, 700)),
    st.tuples(st.just("read"), st.integers(0, 60)),
    st.tuples(st.just("cut"), st.integers(0, 30)),
    st.tuples(st.just("back"), st.just(0)),
)


@given(st.lists(STEP, max_size=40))
async def test_wherever_it_is_cut_each_event_comes_once_in_order_or_the_session_is_new(
    steps: list[tuple[str, int]],
) -> None:
    scene = Scene()
    for step, count in steps:
        if not scene.over:
            getattr(scene, step)(count)
    scene.end()


async def test_missed_events_come_at_the_pace_of_the_client_and_never_make_it_slow() -> None:
    wire = Wire()
    writer = KeepingWriter(wire, "/x", nothing, KeptEvents(LARGE))
    writer.wait(Waiting(NORMAL, writer.kept, nothing))
    for number in range(1, 901):
        writer.write(event(number, size=1000))
    wire = Wire()
    writer.resume(wire, "40/x,{}", 0)

    assert HELD < wire.held_bytes() < 3 * HELD
    assert writer.held_bytes() == wire.held_bytes()
    writer.write(event(901, size=1000))
    assert writer.held_bytes() > wire.held_bytes() + 1000
    assert writer.held_frames() == 1
    reader = Reader()
    while len(reader.received) < 901:
        reader.take(wire.frames[wire.read :])
        wire.read = len(wire.frames)
        await until(lambda: bool(wire.held_bytes()) or len(reader.received) == 901)
    assert reader.received == list(range(1, 902))
    assert writer.held_frames() == 0


@pytest.fixture
async def recovery() -> Recovery:
    """The sessions of a worker of this test's."""
    return Recovery(current_worker(), "rooms", 60.0, EngineOptions())


def session(host: str = "") -> EngineSession:
    return EngineSession("s", 4, EngineOptions(), Peer(host), {}, lambda session: None)


def socket_of(recovery: Recovery, carrier: EngineSession) -> RecoverableSocket:
    namespace = NAMESPACES["/layout"]
    return recovery.new(
        carrier, current_worker(), "rooms", "/layout", namespace, {}, {}, lambda socket: None, NOBODY
    )


@pytest.mark.parametrize(
    ("close", "waits"),
    [(NORMAL, True), (SLOW, True), (TAKEN_OVER, True), (RESTART, False), (INTERNAL, False)],
)
async def test_which_ends_of_a_session_its_sockets_outlive(
    recovery: Recovery, close: Close, waits: bool
) -> None:
    carrier = session()
    socket = socket_of(recovery, carrier)
    assert socket.lost(close) is waits
    assert socket.waits is waits
    carrier.close()
    socket.close()


async def test_a_socket_that_this_end_closes_is_not_kept(recovery: Recovery) -> None:
    carrier = session()
    socket = socket_of(recovery, carrier)
    assert socket.lost(NORMAL)
    socket.connection.close(SLOW)
    assert await recovery.resume("/layout", {"pid": socket.pid}, carrier, lambda socket: None, NOBODY) is None
    carrier.close()


async def test_as_many_wait_as_connections_may_be_open(recovery: Recovery, settings: Any) -> None:
    settings.MAX_CONNECTIONS, settings.MAX_CONNECTIONS_PER_PEER = 3, 2
    recovery = Recovery(current_worker(), "rooms", 60.0, EngineOptions())
    carriers = [session(host) for host in ("a", "a", "a", "b", "c")]
    sockets = [socket_of(recovery, carrier) for carrier in carriers]
    assert [socket.lost(NORMAL) for socket in sockets] == [True, True, False, True, False]
    sockets[0].close()
    last = socket_of(recovery, carriers[0])
    assert last.lost(NORMAL)
    for socket in (*sockets, last):
        socket.close()
    for carrier in carriers:
        carrier.close()


async def test_a_worker_that_stops_keeps_nobody(recovery: Recovery) -> None:
    carrier = session()
    socket = socket_of(recovery, carrier)
    current_worker().draining = True
    assert not socket.lost(NORMAL)
    carrier.close()


async def test_a_session_that_cannot_be_whole_any_more_ends(recovery: Recovery) -> None:
    carrier = session()
    socket = socket_of(recovery, carrier)
    socket.emit("e", 0)
    assert socket.lost(NORMAL)
    for number in range(MAX_KEPT + 1):
        socket.emit("e", number)
    socket.flush()
    await until(lambda: socket.writer.kept.number == MAX_KEPT + 2)
    await until(lambda: not socket.waits or not socket._open)
    assert not socket._open
    carrier.close()


async def test_a_question_to_a_client_that_goes_away_ends(recovery: Recovery) -> None:
    carrier = session()
    socket = socket_of(recovery, carrier)
    socket.lost(NORMAL)
    with pytest.raises(ClientGone):
        await socket.emit_with_ack("x", timeout=None)
    assert not socket.emit_volatile("x")
    socket.close()
    carrier.close()
