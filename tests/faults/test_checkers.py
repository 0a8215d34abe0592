"""The checkers find each kind of violation in a history made wrong on purpose, and none in a right one."""

from __future__ import annotations

import pytest

from faults.checkers import (
    Times,
    check,
    delivery,
    presence,
    registrations,
    requests,
    revocations,
    sessions,
    streams,
    webhooks,
)
from faults.history import Event, History, read, write
from tests.faults.histories import ALL
from tests.faults.histories.line import Line
from tests.faults.histories.messages import MESSAGES

pytestmark = pytest.mark.once

CASES = {name: case for cases in ALL for name, case in cases.items()}
TIMES = Times(frame=1.0, slot=30.0, lease=15.0)


def history(*lines: Line) -> list[Event]:
    return [Event(float(at), who, what, fields[0] if fields else {}) for at, who, what, *fields in lines]


def promises(*lines: Line) -> set[str]:
    return {one.promise for one in check(history(*lines), TIMES)}


# --- sessions ---------------------------------------------------------------------------------------------


def test_no_case_hides_another():
    assert len(CASES) == sum(map(len, ALL))


@pytest.mark.parametrize(("wrong", "lines"), CASES.values(), ids=CASES)
def test_a_checker_finds_what_is_wrong_and_nothing_else(wrong: set[str], lines: tuple[Line, ...]):
    assert promises(*lines) == wrong


def test_every_promise_has_a_history_that_breaks_it():
    modules = (delivery, presence, registrations, requests, revocations, sessions, streams, webhooks)
    stated = {
        value
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    assert stated == set().union(*(wrong for wrong, _ in CASES.values()))


def test_a_violation_shows_the_events_that_prove_it():
    (found,) = check(history(*MESSAGES["one is missing"][1]), TIMES)
    assert [event.at for event in found.events] == [1, 3, 5, 6]
    assert str(found).count("\n") == 4


def test_a_history_is_read_as_it_was_written(tmp_path):
    clock = iter(range(10))
    written = History(lambda: float(next(clock)))
    written.note("a", "received", address="ä", number=1)
    written.note("b", "told")
    write(written, tmp_path / "history.jsonl")
    assert read(tmp_path / "history.jsonl") == list(written)
    assert [one.at for one in written] == [1.0, 2.0]
