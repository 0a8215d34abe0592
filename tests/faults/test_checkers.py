"""The checkers find each kind of violation in a history made wrong on purpose, and none in a right one."""

from __future__ import annotations

from typing import Any

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

pytestmark = pytest.mark.once

Line = tuple[Any, ...]
"""Time, who, what, and fields as pairs in a dict."""
TIMES = Times(frame=1.0, slot=30.0, lease=15.0)


def history(*lines: Line) -> list[Event]:
    return [Event(float(at), who, what, fields[0] if fields else {}) for at, who, what, *fields in lines]


def promises(*lines: Line) -> set[str]:
    return {one.promise for one in check(history(*lines), TIMES)}


# --- sessions ---------------------------------------------------------------------------------------------


def granted(at: float, session: str) -> Line:
    return at, session, "session.granted", {"session": session, "customer": "c", "begun": at - 0.5}


def of_session(at: float, session: str, what: str, **fields: Any) -> Line:
    return at, session, f"session.{what}", {"session": session, **fields}


LIMIT = (0, "operator", "session.limit", {"customer": "c", "maximum": 1})
DENIED = (60, "p", "session.denied", {"customer": "c"})

SESSIONS: dict[str, tuple[set[str], tuple[Line, ...]]] = {
    "one after the other": (
        set(),
        (
            LIMIT,
            granted(1, "a"),
            of_session(2, "a", "ok"),
            of_session(10, "a", "ended", why="TAKE_OVER"),
            granted(10, "b"),
            of_session(11, "b", "ok"),
        ),
    ),
    "two at once": (
        {sessions.LIMIT},
        (
            LIMIT,
            granted(1, "a"),
            of_session(2, "a", "ok"),
            granted(5, "b"),
            of_session(6, "b", "ok"),
            of_session(9, "a", "alive"),
            of_session(9, "b", "alive"),
        ),
    ),
    "a frame that was on its way": (
        set(),
        (
            LIMIT,
            granted(1, "a"),
            of_session(2, "a", "ok"),
            granted(5, "b"),
            of_session(6, "b", "ok"),
            of_session(6.5, "a", "alive"),
            of_session(6.6, "a", "ended", why="TAKE_OVER"),
        ),
    ),
    "what comes behind FINISHED proves nothing": (
        set(),
        (
            LIMIT,
            granted(1, "a"),
            of_session(2, "a", "ok"),
            of_session(4, "a", "finished"),
            granted(5, "b"),
            of_session(6, "b", "ok"),
            of_session(20, "a", "alive"),
        ),
    ),
    "a slot that nobody has": (
        {sessions.SLOT},
        (LIMIT, granted(1, "a"), of_session(2, "a", "ok"), of_session(3, "a", "finished"), DENIED),
    ),
    "a slot of a player that was lost long ago": (
        {sessions.SLOT},
        (LIMIT, granted(1, "a"), of_session(2, "a", "ok"), of_session(20, "a", "lost"), DENIED),
    ),
    "a slot of a player that was lost just now": (
        set(),
        (LIMIT, granted(1, "a"), of_session(2, "a", "ok"), of_session(45, "a", "lost"), DENIED),
    ),
    "a slot of one that came back": (
        set(),
        (
            LIMIT,
            granted(1, "a"),
            of_session(2, "a", "ok"),
            of_session(3, "a", "lost"),
            of_session(4, "a", "ok"),
            DENIED,
        ),
    ),
    "a slot that was granted at the same time": (set(), (LIMIT, DENIED, granted(60.1, "a"))),
    "a slot that was asked for just now": (
        set(),
        (LIMIT, (45, "a", "session.unknown", {"customer": "c", "begun": 40}), DENIED),
    ),
    "a slot that nobody has, in a fault": (
        set(),
        (LIMIT, (50, "nemesis", "fault", {"name": "x", "number": 1}), DENIED),
    ),
    "no end": ({sessions.END}, (granted(1, "a"), of_session(90, "a", "row", ends=0, live=False))),
    "two ends": ({sessions.END}, (granted(1, "a"), of_session(90, "a", "row", ends=2, live=False))),
    "an end of one that lives": (
        {sessions.END},
        (granted(1, "a"), of_session(90, "a", "row", ends=1, live=True)),
    ),
    "in no list": (
        {sessions.END},
        (granted(1, "a"), granted(1, "b"), of_session(90, "a", "row", ends=1, live=False)),
    ),
    "one end": (set(), (granted(1, "a"), of_session(90, "a", "row", ends=1, live=False))),
}


# --- messages ---------------------------------------------------------------------------------------------

AT = {"address": "A"}
SUBSCRIBED = (1, "r", "subscribed", AT)


def told(at: float, who: str = "r", *addresses: str) -> Line:
    return at, who, "told", {"addresses": addresses or ("A",)}


BREAK = (told(4), (4, "r", "unsubscribed", AT), (4, "r", "absent", AT))
BACK = (6, "r", "recovered", AT)
QUIET = (99, "nemesis", "quiet")


def published(at: float, number: int) -> Line:
    return at, "s", "published", {"address": "A", "number": number, "begun": at - 0.1}


def received(at: float, number: int) -> Line:
    return at, "r", "received", {"address": "A", "sender": "s", "number": number}


MESSAGES: dict[str, tuple[set[str], tuple[Line, ...]]] = {
    "all": (set(), (SUBSCRIBED, published(2, 1), received(3, 1), published(4, 2), received(5, 2), QUIET)),
    "out of order": (
        {delivery.ORDER},
        (SUBSCRIBED, published(2, 1), published(2, 2), received(3, 2), received(4, 1), QUIET),
    ),
    "twice": ({delivery.ONCE}, (SUBSCRIBED, published(2, 1), received(3, 1), received(4, 1), QUIET)),
    "again over another connection": (
        set(),
        (
            SUBSCRIBED,
            published(2, 1),
            received(3, 1),
            told(4),
            (5, "r", "connected", AT),
            received(6, 1),
            QUIET,
        ),
    ),
    "one is missing": (
        {delivery.SILENCE},
        (
            SUBSCRIBED,
            published(2, 1),
            published(3, 2),
            published(4, 3),
            received(5, 1),
            received(6, 3),
            QUIET,
        ),
    ),
    "the last is missing": ({delivery.SILENCE}, (SUBSCRIBED, published(2, 1), QUIET)),
    "one is missing, told": (
        set(),
        (
            SUBSCRIBED,
            published(2, 1),
            received(3, 1),
            published(4, 2),
            told(5),
            published(6, 3),
            received(7, 3),
            QUIET,
        ),
    ),
    "told before what came last": (
        {delivery.SILENCE},
        (
            SUBSCRIBED,
            told(2),
            published(3, 1),
            received(4, 1),
            published(5, 2),
            published(6, 3),
            received(7, 3),
            QUIET,
        ),
    ),
    "told to another one": ({delivery.SILENCE}, (SUBSCRIBED, published(2, 1), told(3, "q"), QUIET)),
    "told of another address": (
        {delivery.SILENCE},
        (SUBSCRIBED, published(2, 1), told(3, "r", "B", "C"), QUIET),
    ),
    "told of this one, too": (set(), (SUBSCRIBED, published(2, 1), told(3, "r", "B", "A"), QUIET)),
    "told before it was sent": ({delivery.SILENCE}, (SUBSCRIBED, told(2), published(3, 1), QUIET)),
    "told behind what came next": (
        {delivery.SILENCE},
        (SUBSCRIBED, published(2, 1), published(3, 2), received(4, 2), told(5), QUIET),
    ),
    "counted as lost": (set(), (SUBSCRIBED, published(2, 1), (3, "server", "lost"), QUIET)),
    "counted before it was sent": (
        {delivery.SILENCE},
        (SUBSCRIBED, (1.5, "server", "lost"), published(2, 1), QUIET),
    ),
    "told before it came back": (
        {delivery.SILENCE},
        (SUBSCRIBED, told(2), (3, "r", "subscribed", AT), published(4, 1), QUIET),
    ),
    "sent before it came back": (
        set(),
        (
            SUBSCRIBED,
            told(2),
            (2, "r", "unsubscribed", AT),
            published(2.5, 1),
            (3, "r", "subscribed", AT),
            QUIET,
        ),
    ),
    "recovered, and nothing is missing": (
        set(),
        (SUBSCRIBED, published(2, 1), received(3, 1), *BREAK, published(5, 2), BACK, received(7, 2), QUIET),
    ),
    "recovered, and one is missing": (
        {delivery.SILENCE},
        (SUBSCRIBED, *BREAK, published(5, 1), BACK, published(7, 2), received(8, 2), QUIET),
    ),
    "recovered, and one comes again": (
        {delivery.ONCE},
        (SUBSCRIBED, published(2, 1), received(3, 1), *BREAK, BACK, received(7, 1), QUIET),
    ),
    "not recovered": (set(), (SUBSCRIBED, *BREAK, published(5, 1), (6, "r", "connected", AT), QUIET)),
    "before the subscription": (set(), (published(0.5, 1), SUBSCRIBED, QUIET)),
    "after the subscription": (
        set(),
        (SUBSCRIBED, (2, "r", "unsubscribed", AT), published(3, 1), QUIET),
    ),
}


# --- streams ----------------------------------------------------------------------------------------------

STARTED = (1, "r", "stream.started", {"address": "A", "epoch": "e", "offset": 0})
GAP = (5, "r", "stream.gap")
RECOVERED = (5, "r", "stream.recovered", {"address": "A"})


def delivered(at: float, offset: int, epoch: str = "e", id: str = "", who: str = "r") -> Line:
    return at, who, "stream.delivered", {"id": id or f"{epoch}{offset}", "positions": {"A": [epoch, offset]}}


def end(offset: int, epoch: str = "e") -> Line:
    return 99, "nemesis", "stream.end", {"address": "A", "epoch": epoch, "offset": offset}


STREAMS: dict[str, tuple[set[str], tuple[Line, ...]]] = {
    "in order": (set(), (STARTED, delivered(2, 1), delivered(3, 2), end(2))),
    "recovered": (set(), (STARTED, delivered(2, 1), RECOVERED, delivered(6, 2), end(2))),
    "recovered, and a hole": (
        {streams.COMPLETE},
        (STARTED, delivered(2, 1), RECOVERED, delivered(6, 3), end(3)),
    ),
    "told before the recovery": (
        {streams.COMPLETE},
        (STARTED, delivered(2, 1), GAP, RECOVERED, delivered(6, 3), end(3)),
    ),
    "a hole": ({streams.COMPLETE}, (STARTED, delivered(2, 1), delivered(3, 3), end(3))),
    "a hole at the beginning": ({streams.COMPLETE}, (STARTED, delivered(3, 2), end(2))),
    "a hole at the end": ({streams.COMPLETE}, (STARTED, delivered(2, 1), end(2))),
    "a hole that was told": (set(), (STARTED, delivered(2, 1), GAP, delivered(6, 3), end(3))),
    "told behind the hole": ({streams.COMPLETE}, (STARTED, delivered(2, 1), delivered(3, 3), GAP, end(3))),
    "out of order, told": ({streams.COMPLETE}, (STARTED, delivered(2, 2), GAP, delivered(6, 1), end(1))),
    "told elsewhere": (
        set(),
        (
            STARTED,
            delivered(2, 1),
            (3, "r", "stream.told", {"address": "A", "epoch": "f", "offset": 7}),
            end(7, "f"),
        ),
    ),
    "told of a later place": (
        set(),
        (
            STARTED,
            delivered(2, 1),
            (3, "r", "stream.told", {"address": "A", "epoch": "e", "offset": 2}),
            delivered(4, 3),
            end(3),
        ),
    ),
    "told before what was whole": (
        {streams.COMPLETE},
        (STARTED, (1.5, "r", "stream.gap"), delivered(2, 1), delivered(3, 3), end(3)),
    ),
    "another epoch, not told": (
        {streams.COMPLETE},
        (STARTED, delivered(2, 1), delivered(3, 1, "f"), end(1, "f")),
    ),
    "what is left of an epoch, told once": (
        set(),
        (STARTED, delivered(2, 1), GAP, delivered(6, 3), delivered(7, 5), delivered(8, 1, "f"), end(1, "f")),
    ),
    "what is left of an epoch, told once, and the next elsewhere": (
        set(),
        (
            STARTED,
            delivered(2, 1),
            GAP,
            delivered(6, 3),
            delivered(7, 5),
            (8, "r", "stream.told", {"address": "A", "epoch": "f", "offset": 2}),
            delivered(9, 3, "f"),
            end(3, "f"),
        ),
    ),
    "a position twice": (
        {streams.COMPLETE, streams.HOLES, streams.IDS},
        (STARTED, delivered(2, 1), delivered(3, 1), end(1)),
    ),
    "an id twice": ({streams.IDS}, (STARTED, delivered(2, 1, id="x"), delivered(3, 2, id="x"), end(2))),
    "two messages at one place": (
        {streams.HOLES},
        (
            STARTED,
            delivered(2, 1, id="x"),
            (1, "q", "stream.started", {"address": "A", "epoch": "e", "offset": 0}),
            delivered(2, 1, id="y", who="q"),
            end(1),
        ),
    ),
}


# --- presence and lobbies ---------------------------------------------------------------------------------


def listed(at: float, *clients: str) -> Line:
    return at, "operator", "listed", {"address": "A", "clients": list(clients)}


def counted(at: float, count: int) -> Line:
    return at, "operator", "counted", {"address": "A", "count": count}


def alike(at: float, who: str) -> Line:
    return at, who, "present", {"address": "A", "client": "same"}


def member(at: float, what: str) -> Line:
    return at, "m", what, {"address": "A", "client": "n"}


PRESENT = (1, "p", "present", {"address": "A"})
ABSENT = (30, "p", "absent", {"address": "A"})
HEALED = ((40, "nemesis", "fault", {"name": "x", "number": 1}), (50, "nemesis", "healed", {"number": 1}))

PRESENCE: dict[str, tuple[set[str], tuple[Line, ...]]] = {
    "there": (set(), (PRESENT, listed(30, "p"))),
    "not listed": ({presence.LISTINGS}, (PRESENT, listed(30))),
    "listed too long": ({presence.LISTINGS}, (PRESENT, ABSENT, listed(60, "p"))),
    "listed as long as the lease": (set(), (PRESENT, ABSENT, listed(45, "p"))),
    "listed, and nobody knows it": ({presence.LISTINGS}, (PRESENT, listed(30, "p", "q"))),
    "one is recent, and another is not listed": (
        {presence.LISTINGS},
        (PRESENT, (25, "q", "present", AT), listed(30)),
    ),
    "two of a name": (set(), (alike(1, "p"), alike(2, "q"), listed(30, "same", "same"))),
    "one of two of a name": ({presence.LISTINGS}, (alike(1, "p"), alike(2, "q"), listed(30, "same"))),
    "counted": (set(), (PRESENT, counted(30, 1))),
    "counted too often": ({presence.LISTINGS}, (PRESENT, counted(30, 2))),
    "counted just after it came": (set(), (PRESENT, counted(5, 0))),
    "not listed in a fault": (set(), (PRESENT, *HEALED, listed(60))),
    "not listed after a fault": ({presence.LISTINGS}, (PRESENT, *HEALED, listed(80))),
    "in pairs": (set(), (member(1, "joined"), member(2, "left"), member(3, "joined"))),
    "joined twice": ({presence.PAIRS}, (member(1, "joined"), member(2, "joined"))),
    "left twice": ({presence.PAIRS}, (member(1, "joined"), member(2, "left"), member(3, "left"))),
    "left, and never joined": ({presence.PAIRS}, (member(3, "left"),)),
    "begins anew": (
        set(),
        (member(1, "joined"), (2, "m", "rejoined", {"address": "A"}), member(3, "joined")),
    ),
}


# --- requests, webhooks, revocations, registrations -------------------------------------------------------


def request(at: float, what: str) -> Line:
    return at, "r", what, {"request": "q"}


def change(at: float, what: str) -> Line:
    return at, "w", f"change.{what}", {"change": "x"}


def report(at: float, delivery: str = "d") -> Line:
    return at, "receiver", "hook.received", {"change": "x", "delivery": delivery}


def named(at: float, what: str) -> Line:
    return at, "n", what, {"name": "alice"}


def registration(at: float, what: str) -> Line:
    return at, "registrar", f"registration.{what}", {"kind": "token", "name": "abc"}


def registered(at: float, *names: str, kind: str = "token") -> Line:
    return at, "registrar", "registration.listed", {"kind": kind, "names": list(names), "begun": at - 1}


DELETED = (registration(2, "deleting"), registration(2.5, "deleted"))

OTHERS: dict[str, tuple[set[str], tuple[Line, ...]]] = {
    "answered": (set(), (request(1, "asked"), request(2, "partial"), request(3, "answered"), QUIET)),
    "given up": (set(), (request(1, "asked"), request(3, "gave_up"), QUIET)),
    "answered twice": ({requests.ONE}, (request(1, "asked"), request(2, "answered"), request(3, "answered"))),
    "a part behind the answer": (
        {requests.LATE},
        (request(1, "asked"), request(2, "answered"), request(3, "partial")),
    ),
    "never answered": ({requests.END}, (request(1, "asked"), QUIET)),
    "reported": (set(), (change(1, "begun"), change(2, "committed"), report(3), report(4), QUIET)),
    "not reported": ({webhooks.LEAST}, (change(1, "begun"), change(2, "committed"), QUIET)),
    "rolled back": (set(), (change(1, "begun"), change(2, "rolled_back"), QUIET)),
    "rolled back, and reported": ({webhooks.NONE}, (change(1, "begun"), change(2, "rolled_back"), report(3))),
    "nobody knows": (set(), (change(1, "begun"), report(3), QUIET)),
    "reported as two": ({webhooks.SAME}, (change(2, "committed"), report(3, "d"), report(4, "e"), QUIET)),
    "gone": (set(), (named(1, "served"), named(2, "revoked"), named(7, "served"))),
    "served after it": ({revocations.GONE}, (named(2, "revoked"), named(9, "served"))),
    "let in after it": ({revocations.GONE}, (named(2, "revoked"), named(9, "let_in"))),
    "served in a fault": (
        set(),
        ((1, "nemesis", "fault", {"name": "x", "number": 1}), named(2, "revoked"), named(9, "served")),
    ),
    "registered": (set(), (registration(1, "created"), registered(3, "abc", "open"))),
    "registered, and lost": ({registrations.KEPT}, (registration(1, "created"), registered(3))),
    "registered while it is listed": (set(), (registration(2.5, "created"), registered(3))),
    "another kind is listed": (set(), (registration(1, "created"), registered(3, kind="user"))),
    "perhaps deleted": (set(), (registration(1, "created"), registration(2, "deleting"), registered(4))),
    "deleted": (set(), (registration(1, "created"), *DELETED, registered(4))),
    "deleted, and back": ({registrations.GONE}, (registration(1, "created"), *DELETED, registered(4, "abc"))),
    "deleted while it is listed": (set(), (registration(1, "created"), *DELETED, registered(3, "abc"))),
}

CASES = SESSIONS | MESSAGES | STREAMS | PRESENCE | OTHERS


def test_no_case_hides_another():
    assert len(CASES) == sum(map(len, (SESSIONS, MESSAGES, STREAMS, PRESENCE, OTHERS)))


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
