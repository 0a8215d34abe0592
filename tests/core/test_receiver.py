"""The state that one process keeps of the others: questions, answers that it takes, and their clocks."""

from __future__ import annotations

from typing import Any

import pytest

from routing_app.core.cluster import receiver
from routing_app.core.cluster.peer import PAUSE_SECONDS, Offset
from routing_app.core.cluster.receiver import PART_SECONDS, PEER_SECONDS, RECOVERY_SECONDS, EnvelopeReceiver
from routing_app.core.cluster.replay import Log

pytestmark = pytest.mark.once


class Process:
    """A receiver, the numbers that it has delivered, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.delivered: list[int] = []
        self.told: list[tuple[float, list[int]]] = []
        """Times before which messages are missing, and what had been delivered when it was said."""
        self.asks = 0
        self.receiver = EnvelopeReceiver(self._deliver, self._ask, lambda: self.now, self._tell)

    def _deliver(self, items: list[Any], offset: float | None) -> None:
        self.delivered += [item[1] for item in items]

    def _ask(self) -> None:
        self.asks += 1

    def _tell(self, until: float) -> None:
        self.told.append((until, list(self.delivered)))

    def take(self, number: int, hole: int | None = 0) -> None:
        self.receiver.take("b", number, hole, items(number))

    def round(self) -> int:
        """The number of the question that waits for an answer."""
        return self.receiver.wanted()["b"][2]

    def answer(self, round: int, *numbers: int, upto: int, lost_at: float | None = None) -> None:
        entries = [(number, items(number)) for number in numbers]
        self.receiver.replay("b", round, entries, upto, lost_at, self.now)


def items(number: int) -> list[Any]:
    return [[["token:a"], number, "message", "", "", "", 99.0]]


@pytest.fixture
def process() -> Process:
    return Process()


def test_an_answer_from_before_a_second_break_does_not_cover_messages_between(process: Process) -> None:
    process.take(1)
    process.receiver.request_replay()
    first = process.round()
    process.receiver.request_replay()
    process.answer(first, 2, upto=2)

    assert process.delivered == [1]
    process.answer(process.round(), 2, 3, upto=3)
    assert process.delivered == [1, 2, 3]
    assert process.receiver.settle() is None


def test_an_answer_nobody_asked_for_is_not_taken(process: Process) -> None:
    process.take(1)
    process.answer(0, 2, upto=2)
    process.take(2)

    assert process.delivered == [1, 2]


def test_live_and_repeated_messages_are_delivered_once_and_in_order(process: Process) -> None:
    process.take(1)
    process.receiver.request_replay()
    process.take(4)
    process.take(5)
    process.answer(process.round(), 2, 3, 4, upto=4)
    process.take(5)
    process.take(6)

    assert process.delivered == [1, 2, 3, 4, 5, 6]


def test_only_the_one_that_is_asked_is_held_back(process: Process) -> None:
    process.take(1)
    process.receiver.take("c", 1, 0, items(10))
    process.take(4, hole=3)
    process.receiver.take("c", 2, 0, items(11))

    assert process.delivered == [1, 10, 11]
    assert list(process.receiver.wanted()) == ["b"]


def test_a_heartbeat_after_something_that_never_left_asks_for_it(process: Process) -> None:
    process.take(1)
    process.receiver.heartbeat("b", 3, 3, process.now)
    process.answer(process.round(), 2, 3, upto=3)
    process.receiver.heartbeat("b", 3, 3, process.now)

    assert process.delivered == [1, 2, 3]
    assert (process.asks, process.receiver.wanted()) == (1, {})


def test_a_process_that_does_not_answer_is_waited_for_once_and_told_once(process: Process) -> None:
    process.take(1)
    process.take(4, hole=3)
    assert process.receiver.settle() is None
    process.now += RECOVERY_SECONDS
    assert process.receiver.settle() is None
    assert process.told == [(process.now - RECOVERY_SECONDS, [1])]
    process.take(5, hole=3)

    assert process.delivered == [1, 4, 5]
    assert process.receiver.settle() is None
    assert not process.receiver.recovering
    assert len(process.told) == 1


def test_what_nothing_came_behind_is_told_when_no_wait_is_left(process: Process) -> None:
    process.take(1)
    process.receiver.request_replay()
    process.now += RECOVERY_SECONDS
    assert process.receiver.settle() == process.now - RECOVERY_SECONDS
    assert process.told == []


def test_a_gap_is_told_before_what_came_behind_it_while_another_process_is_waited_for(
    process: Process,
) -> None:
    process.take(1)
    process.receiver.take("c", 1, 0, items(10))
    process.receiver.request_replay()
    process.take(4)
    process.answer(process.round(), 3, upto=4, lost_at=98.0)

    assert process.receiver.recovering
    assert process.told == [(98.0, [1, 10])]
    assert process.delivered == [1, 10, 3, 4]


def test_what_found_no_room_is_told_behind_what_did(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "MAX_HELD", 2)
    process.take(1)
    process.receiver.request_replay()
    for number in (2, 3, 4):
        process.take(number)
    process.answer(process.round(), upto=4)

    assert process.delivered == [1, 2, 3]
    assert process.told == []
    assert process.receiver.settle() == process.now


def test_the_time_in_which_we_stood_still_does_not_count(process: Process) -> None:
    process.take(1)
    process.receiver.request_replay()
    process.now += 60
    process.receiver.postpone(60)
    assert process.receiver.settle() is None
    process.answer(process.round(), 2, upto=2)

    assert process.delivered == [1, 2]
    assert process.receiver.settle() is None


def test_while_parts_come_nothing_is_asked_again_and_there_is_time(process: Process) -> None:
    process.take(1)
    process.receiver.request_replay()
    round = process.round()
    for number in (2, 3, 4):
        process.now += RECOVERY_SECONDS - 0.1
        process.receiver.part("b", round, [(number, items(number))])
        assert process.receiver.wanted() == {}
        assert process.receiver.settle() is None
    process.now += PART_SECONDS + 0.1
    assert process.round() == round
    process.answer(round, 5, upto=5)

    assert process.delivered == [1, 2, 3, 4, 5]


def test_a_new_process_is_asked_only_for_messages_after_our_start(process: Process) -> None:
    process.receiver.opened()
    process.now += 7
    process.receiver.heartbeat("b", 50, 40, 5.0)

    assert process.receiver.wanted()["b"][:2] == (0, 7 + RECOVERY_SECONDS)


def test_a_process_that_never_failed_to_send_is_not_asked_when_it_is_met(process: Process) -> None:
    process.receiver.heartbeat("b", 50, 0, 5.0)
    process.take(51)

    assert (process.asks, process.delivered) == (0, [51])


def test_one_that_says_goodbye_with_nothing_outstanding_leaves_no_gap(process: Process) -> None:
    process.take(1)
    process.receiver.request_replay()
    process.receiver.goodbye("b", 1, 0)

    assert process.receiver.settle() is None
    assert not process.receiver.recovering


# --- the log ----------------------------------------------------------------------------------------------


def test_the_log_gives_the_wanted_entries_and_the_time_of_the_last_lost_one() -> None:
    now = 0.0
    log = Log(max_seconds=60, clock=lambda: now)
    for number in range(1, 11):
        now = 10.0 * number
        log.append((number, items(number)))

    def numbers(after: int, seconds: float) -> tuple[list[int], float | None]:
        replay = log.after(after, seconds)
        assert replay.number == 10
        return [entry[0] for part in replay.parts for entry in part], replay.lost_at

    assert numbers(0, 1000) == ([4, 5, 6, 7, 8, 9, 10], 30.0)
    assert numbers(5, 1000) == ([6, 7, 8, 9, 10], None)
    assert numbers(0, 25) == ([8, 9, 10], None)
    assert numbers(10, 1000) == ([], None)


# --- clocks -----------------------------------------------------------------------------------------------


def test_the_quickest_of_the_last_readings_is_the_best() -> None:
    offset = Offset()
    for step, delay in enumerate([0.3, 0.01, 0.2]):
        offset.read(step - 500.0, step + delay)

    assert offset.seconds == pytest.approx(500.01)


def test_a_process_that_announced_a_late_heartbeat_is_waited_for_until_then(process: Process) -> None:
    for sender, next in (("seldom", 15.0), ("often", 1.0)):
        process.receiver.heartbeat(sender, 0, 0, process.now, next)
    process.now += 15 + PEER_SECONDS - 1
    process.receiver.heartbeat("c", 0, 0, process.now)
    process.receiver.request_replay()
    assert set(process.receiver.wanted()) == {"seldom", "often", "c"}, "all are asked"
    waited_for = {name for name, peer in process.receiver._peers.items() if peer.is_waited_for}
    assert waited_for == {"seldom", "c"}


@pytest.mark.parametrize(("patience", "asks"), [(1.0, False), (15.0, True)])
def test_where_heartbeats_are_rare_one_that_is_new_after_a_break_is_asked_for_longer(
    process: Process, patience: float, asks: bool
) -> None:
    """It may have come, and sent something, while the connection was broken."""
    process.receiver.heartbeat("b", 0, 0, process.now, patience)
    process.receiver.request_replay()
    process.receiver.replay("b", process.round(), [], 0, None, process.now)
    process.now += 15
    process.receiver.heartbeat("new", 3, 0, process.now, patience)
    assert ("new" in process.receiver.wanted()) is asks


def test_a_reading_that_comes_as_late_as_announced_is_not_one_after_a_silence() -> None:
    offset = Offset()
    offset.read(0.0, 500.01)
    offset.read(10.0, 510.4, patience=10)
    assert offset.seconds == pytest.approx(500.01)
    offset.read(20.0, 522.1 + PAUSE_SECONDS, patience=10)
    assert offset.seconds == pytest.approx(502.1 + PAUSE_SECONDS), "its clock stood still"


def test_after_a_silence_a_reading_that_was_under_way_spoils_nothing() -> None:
    offset = Offset()
    offset.read(0.0, 500.001)
    offset.read(1.0, 528.0)  # it may have slept, or this one was slow
    assert offset.seconds == pytest.approx(527)
    offset.read(30.0, 530.2)

    assert offset.seconds == pytest.approx(500.001)


def test_a_clock_that_stood_still_is_noticed() -> None:
    """Else what is published now would look older than who subscribed while it slept."""
    offset = Offset()
    offset.read(0.0, 500.0)
    for second in range(10):
        offset.read(1.0 + second, 501.0 + second + 60)
        assert offset.seconds == pytest.approx(560.0)
