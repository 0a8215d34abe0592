"""Histories of presence, lobbies and listings."""

from __future__ import annotations

from faults.checkers import presence
from tests.faults.histories.line import AT, Cases, Line


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

PRESENCE: Cases = {
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
