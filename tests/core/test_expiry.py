"""Connections end when their credential expires: at that time of the system's clock, and never before."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from math import inf
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from routing_app.core.access.expiry import BATCH, LOOK_SECONDS, Expiries, end_of
from routing_app.core.access.grants import NOBODY, Grant, GrantKind
from routing_app.core.codes import EXPIRED
from routing_app.core.delivery.connection import Connection, ConnectionState
from routing_app.core.delivery.outbox import Flusher
from routing_app.core.worker import Worker
from tests.core.harness import PLAIN, Recorder
from tests.core.sockets import Client, Probe

pytestmark = pytest.mark.once

NOW = 1_800_000_000.0
NO_LOOP = asyncio.new_event_loop()
NO_LOOP.close()


class Handle:
    def __init__(self, at: float, act: Callable[[], None]) -> None:
        self.at, self.act, self.cancelled = at, act, False

    def cancel(self) -> None:
        self.cancelled = True


class Time:
    """A clock that can be set, and a loop that counts seconds of its own."""

    def __init__(self) -> None:
        self.clock = NOW
        self._loop = 0.0
        self.timers: list[Handle] = []

    def call_later(self, delay: float, act: Callable[[], None]) -> Any:
        assert 0 <= delay <= LOOK_SECONDS
        handle = Handle(self._loop + delay, act)
        self.timers.append(handle)
        return handle

    def pass_by(self, seconds: float) -> None:
        """Let time pass, and run what is due on the way."""
        until = self._loop + seconds
        while due := [one for one in self.timers if not one.cancelled and one.at <= until]:
            first = min(due, key=lambda one: one.at)
            self.clock += first.at - self._loop
            self._loop = first.at
            self.timers = [one for one in self.timers if one is not first and not one.cancelled]
            first.act()
        self.clock += until - self._loop
        self._loop = until

    def waiting(self) -> int:
        return sum(not one.cancelled for one in self.timers)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def expiries(time: Time) -> Expiries:
    return Expiries(time.call_later, lambda: time.clock)


def token(expires_at: float) -> Grant:
    return Grant(GrantKind.TOKEN, expires_at=expires_at)


def connection(expires_at: float = inf) -> Connection:
    one = Connection("0" * 28, "test", Recorder(), Flusher(NO_LOOP), PLAIN)
    one.grant = token(expires_at)
    return one


def watched(expiries: Expiries, seconds: float) -> Connection:
    one = connection(NOW + seconds)
    expiries.watch(one)
    return one


def test_it_ends_at_its_time_with_4005(time: Time, expiries: Expiries) -> None:
    later, soon = watched(expiries, 100), watched(expiries, 30)
    time.pass_by(29.999)
    assert soon.state is ConnectionState.OPEN
    time.pass_by(0.001)
    assert soon.close_sent is EXPIRED
    assert later.state is ConnectionState.OPEN
    time.pass_by(70)
    assert later.close_sent is EXPIRED
    assert (len(expiries), time.waiting()) == (0, 0)


def test_a_refresh_puts_the_end_off(time: Time, expiries: Expiries) -> None:
    one = watched(expiries, 30)
    time.pass_by(20)
    one.grant = token(time.clock + 30)
    expiries.watch(one)
    time.pass_by(29)
    assert one.state is ConnectionState.OPEN
    time.pass_by(1)
    assert one.close_sent is EXPIRED


def test_a_shorter_grant_brings_the_end_forward(time: Time, expiries: Expiries) -> None:
    one = watched(expiries, 1_000)
    one.grant = token(NOW + 2)
    expiries.watch(one)
    time.pass_by(2)
    assert one.close_sent is EXPIRED


@pytest.mark.parametrize("grant", [NOBODY, token(inf)], ids=["nobody", "no end"])
def test_a_grant_without_end_takes_the_end_away(time: Time, expiries: Expiries, grant: Grant) -> None:
    one = watched(expiries, 30)
    one.grant = grant
    expiries.watch(one)
    time.pass_by(1_000)
    assert one.state is ConnectionState.OPEN
    assert (len(expiries), time.waiting()) == (0, 0)


def test_one_that_has_left_is_not_kept(time: Time, expiries: Expiries) -> None:
    one = watched(expiries, 1e6)
    expiries.forget(one)
    expiries.forget(one)
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
    other = watched(expiries, 30)  # the entry of the first still stands before nothing
    time.pass_by(30)
    assert other.close_sent is EXPIRED


def test_refreshes_pile_up_nothing(time: Time, expiries: Expiries) -> None:
    one = connection()
    for seconds in range(10_000):
        one.grant = token(NOW + 1_000 + seconds)
        expiries.watch(one)
    assert len(expiries) == 1
    assert len(expiries._heap) < 100


def test_a_clock_set_forward_ends_it_within_moments(time: Time, expiries: Expiries) -> None:
    one = watched(expiries, 86_400)
    time.pass_by(10)
    time.clock += 90_000
    time.pass_by(LOOK_SECONDS)
    assert one.close_sent is EXPIRED


def test_a_clock_set_back_ends_nothing_early(time: Time, expiries: Expiries) -> None:
    one = watched(expiries, 60)
    time.pass_by(10)
    time.clock -= 1_000
    time.pass_by(1_000)
    assert one.state is ConnectionState.OPEN
    time.pass_by(60)
    assert one.close_sent is EXPIRED


def test_a_token_within_the_leeway_holds_until_that_is_over(
    time: Time, expiries: Expiries, settings: Any
) -> None:
    settings.TOKEN_LEEWAY_SECONDS = 5
    one = watched(expiries, -2)
    time.pass_by(2.9)
    assert one.state is ConnectionState.OPEN
    time.pass_by(0.2)
    assert one.close_sent is EXPIRED
    assert end_of(Grant(GrantKind.KEY, expires_at=NOW - 2), NOW) == NOW - 2


def test_many_that_expire_together_leave_the_loop_its_turns(time: Time, expiries: Expiries) -> None:
    many = [watched(expiries, 1) for _ in range(3 * BATCH)]
    ended: list[int] = []

    def count(act: Callable[[], None]) -> Callable[[], None]:
        def counted() -> None:
            act()
            ended.append(sum(one.close_sent is EXPIRED for one in many))

        return counted

    call_later = time.call_later
    time.call_later = lambda delay, act: call_later(delay, count(act))  # type: ignore[method-assign]
    expiries._call_later = time.call_later
    expiries.watch(connection(NOW + 0.5))
    time.pass_by(1)
    assert [after - before for before, after in zip([0, *ended], ended, strict=False)] == [0, *[BATCH] * 3]


def test_an_end_that_fails_keeps_no_other_from_ending(time: Time, expiries: Expiries) -> None:
    def fail() -> None:
        raise RuntimeError

    expiries.watch_until(connection(), NOW + 1, fail)
    one = watched(expiries, 2)
    with pytest.raises(RuntimeError):
        time.pass_by(1)
    time.pass_by(1)
    assert one.close_sent is EXPIRED


@pytest.mark.django_db(transaction=True)
async def test_a_socket_ends_and_leaves_nothing_behind(worker: Worker, probe: type[Probe]) -> None:
    async def hold(one: Probe) -> None:
        one.connection.grant = token(0.0)
        one.worker.expiries.watch(one.connection)

    probe.act = {"received": hold}
    client, other = Client(probe), Client(probe)
    await client.opens()
    await other.opens()
    await client.send_to(text_data="hold")
    assert await client.close_code() == EXPIRED.code
    await client.send_input({"type": "websocket.disconnect", "code": EXPIRED.code})
    await client.ends()

    other_end = probe.seen[1]
    other_end.connection.grant = token(1e11)
    worker.expiries.watch(other_end.connection)
    assert len(worker.expiries) == 1
    await other.send_input({"type": "websocket.disconnect", "code": 1000})
    await other.ends()
    assert len(worker.expiries) == 0


class ExpiryMachine(RuleBasedStateMachine):
    """Connections that come, are refreshed, leave, and expire while the clock is set forward and back."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.expiries = Expiries(self.time.call_later, lambda: self.time.clock)
        self.model: dict[Connection, float] = {}
        self.ended: set[Connection] = set()

    @rule(seconds=st.floats(0.001, 50))
    def arrive(self, seconds: float) -> None:
        one = connection()
        self._hold(one, seconds)

    @rule(seconds=st.floats(0.001, 50), data=st.data())
    def refresh(self, seconds: float, data: st.DataObject) -> None:
        if self.model:
            self._hold(data.draw(st.sampled_from(list(self.model))), seconds)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.model:
            one = data.draw(st.sampled_from(list(self.model)))
            del self.model[one]
            self.expiries.forget(one)

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.time.pass_by(seconds)
        self._settle()

    @rule(seconds=st.floats(-30, 30))
    def set_clock(self, seconds: float) -> None:
        self.time.clock += seconds
        self.time.pass_by(LOOK_SECONDS)
        self._settle()

    def _hold(self, one: Connection, seconds: float) -> None:
        ends_at = self.time.clock + seconds
        self.model[one] = ends_at
        self.expiries.watch_until(one, ends_at, lambda: self._end(one))

    def _end(self, one: Connection) -> None:
        assert self.model[one] <= self.time.clock
        self.ended.add(one)

    def _settle(self) -> None:
        for one in self.ended:
            del self.model[one]
        self.ended.clear()

    @invariant()
    def none_is_late(self) -> None:
        assert len(self.expiries) == len(self.model)
        assert all(at > self.time.clock - 1e-6 for at in self.model.values())
        assert self.time.waiting() <= 1
        assert self.time.waiting() or not self.model


TestExpiryMachine = ExpiryMachine.TestCase
