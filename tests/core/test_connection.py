"""The life of a connection: it only moves downward, and tells each end once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from routing_app.core.codes import KICKED, NORMAL, RESTART, SLOW, Close
from routing_app.core.delivery.connection import Connection, ConnectionState, Limits, Peer
from routing_app.core.delivery.outbox import Flusher
from tests.core.harness import PLAIN, Recorder, lost

pytestmark = pytest.mark.once

LIMITS = Limits(outbox_bytes=50, outbox_frames=5)


def connection(loop: asyncio.AbstractEventLoop) -> tuple[Connection, Recorder]:
    recorder = Recorder()
    return Connection("0" * 28, "test", recorder, Flusher(loop), PLAIN, limits=LIMITS), recorder


async def test_frames_that_were_sent_before_a_close_go_out_before_it():
    one, recorder = connection(asyncio.get_running_loop())
    one.send("a")
    one.close(KICKED)

    assert recorder.texts == ["a"]
    assert recorder.closed == [KICKED]
    assert not one.send("b")
    await asyncio.sleep(0)
    assert recorder.texts == ["a"]


async def test_the_first_close_wins():
    one, recorder = connection(asyncio.get_running_loop())
    one.close(KICKED)
    one.close(RESTART)

    assert recorder.closed == [KICKED]
    assert one.close_sent is KICKED


async def test_a_close_of_a_reader_that_turns_out_too_slow_is_one_close():
    one, recorder = connection(asyncio.get_running_loop())
    closes: list[Close] = []
    one.on_close = closes.append
    recorder.stuck = True
    for _ in range(5):
        one.send("x" * 10)
    await asyncio.sleep(0)  # the writer holds them now
    one.send("the frame that is too much")
    one.close(KICKED)

    assert (recorder.closed, recorder.aborted) == ([], [SLOW])
    assert closes == [SLOW]
    assert one.close_sent is SLOW


async def test_a_slow_reader_is_closed_and_its_losses_are_counted():
    one, recorder = connection(asyncio.get_running_loop())
    slow = lost("slow")
    recorder.stuck = True
    while one.send("x"):
        await asyncio.sleep(0)

    assert (recorder.aborted, one.state) == ([SLOW], ConnectionState.CLOSING)
    assert slow.grown == 6


async def test_frames_that_nobody_will_read_are_counted():
    one, recorder = connection(asyncio.get_running_loop())
    closed = lost("closed")
    one.send("a")
    one.send("b")
    one.mark_closed()
    one.mark_closed()
    await asyncio.sleep(0)

    assert (closed.grown, recorder.texts, one.state) == (2, [], ConnectionState.CLOSED)


async def test_frames_kept_for_a_handshake_that_is_refused_are_counted():
    one, recorder = connection(asyncio.get_running_loop())
    closed = lost("closed")
    one.outbox.cork()
    one.send("a")
    one.close(KICKED)
    one.mark_closed()

    assert (closed.grown, recorder.texts, recorder.closed) == (1, [], [])
    assert one.close_sent is KICKED


async def test_before_the_handshake_is_answered_nothing_is_written_not_even_an_abort():
    one, recorder = connection(asyncio.get_running_loop())
    slow, closed = lost("slow"), lost("closed")
    one.outbox.cork()
    waiting = next(number for number in range(1000) if not one.send("x"))

    assert (one.close_sent, one.state) == (SLOW, ConnectionState.CLOSING)
    assert (recorder.texts, recorder.closed, recorder.aborted) == ([], [], [])
    assert (waiting, slow.grown, closed.grown) == (5, 6, 0)


def test_a_peer_is_written_with_its_port():
    assert str(Peer("10.0.0.1", 80)) == "10.0.0.1:80"
    assert str(Peer()) == ""


class Life(RuleBasedStateMachine):
    """Every order of sends, turns, stalls and ends."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.one, self.recorder = connection(self.loop)
        self.closes: list[Close] = []
        self.one.on_close = self.closes.append
        self.sent: list[str] = []
        self.accepted: list[str] = []
        self.states = [self.one.state]
        self.at_close: list[str] | None = None

    def teardown(self) -> None:
        self.loop.close()

    @rule(size=st.integers(1, 30))
    def send(self, size):
        text = f"{len(self.sent)}".zfill(size)
        self.sent.append(text)
        alive = self.one.state is ConnectionState.OPEN
        if self.one.send(text) or (alive and self.closes):
            self.accepted.append(text)
        else:
            assert not alive

    @rule()
    def turn(self):
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    @rule()
    def stall(self):
        self.recorder.stuck = True

    @rule()
    def resume(self):
        self.recorder.release()

    @rule(close=st.sampled_from([NORMAL, KICKED, RESTART]))
    def close(self, close):
        self.one.close(close)

    @precondition(lambda self: self.states[-1] is not ConnectionState.CLOSED)
    @rule()
    def mark_closed(self):
        self.one.mark_closed()

    @invariant()
    def it_only_moves_downward(self):
        order = list(ConnectionState)
        if self.one.state is not self.states[-1]:
            self.states.append(self.one.state)
        assert [order.index(state) for state in self.states] == sorted(order.index(s) for s in self.states)

    @invariant()
    def each_end_is_told_once(self):
        told = self.recorder.closed + self.recorder.aborted
        assert told == self.closes
        assert len(told) <= 1
        assert self.one.close_sent is (told[0] if told else None)
        assert bool(told) or self.one.state is not ConnectionState.CLOSING

    @invariant()
    def what_was_accepted_goes_out_in_order(self):
        written = [*self.recorder.texts, *[frame.text for frame in self.recorder.held]]
        waiting = [frame.text for frame in self.one.outbox.frames]
        assert [*written, *waiting] == self.accepted[: len(written) + len(waiting)]
        if self.one.state is ConnectionState.OPEN or self.recorder.closed:
            assert [*written, *waiting] == self.accepted


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestLife = Life.TestCase
