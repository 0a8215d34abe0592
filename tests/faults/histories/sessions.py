"""Histories of sessions."""

from __future__ import annotations

from typing import Any

from faults.checkers import sessions
from tests.faults.histories.line import Cases, Line


def granted(at: float, session: str) -> Line:
    return at, session, "session.granted", {"session": session, "customer": "c", "begun": at - 0.5}


def of_session(at: float, session: str, what: str, **fields: Any) -> Line:
    return at, session, f"session.{what}", {"session": session, **fields}


LIMIT = (0, "operator", "session.limit", {"customer": "c", "maximum": 1})
DENIED = (60, "p", "session.denied", {"customer": "c"})

SESSIONS: Cases = {
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
