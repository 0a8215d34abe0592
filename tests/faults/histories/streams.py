"""Histories of streams."""

from __future__ import annotations

from faults.checkers import streams
from tests.faults.histories.line import Cases, Line

STARTED = (1, "r", "stream.started", {"address": "A", "epoch": "e", "offset": 0})
GAP = (5, "r", "stream.gap")
RECOVERED = (5, "r", "stream.recovered", {"address": "A"})


def delivered(at: float, offset: int, epoch: str = "e", id: str = "", who: str = "r") -> Line:
    return at, who, "stream.delivered", {"id": id or f"{epoch}{offset}", "positions": {"A": [epoch, offset]}}


def sent(at: float, offset: int) -> Line:
    return at, "s", "stream.published", {"positions": {"A": ["e", offset]}, "begun": at - 0.1}


def end(offset: int, epoch: str = "e") -> Line:
    return 99, "nemesis", "stream.end", {"address": "A", "epoch": epoch, "offset": offset}


STREAMS: Cases = {
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
    "told before what is missing was sent": (
        {streams.COMPLETE},
        (STARTED, delivered(2, 1), GAP, sent(6, 2), delivered(7, 3), end(3)),
    ),
    "told when what is missing had been sent": (
        set(),
        (STARTED, delivered(2, 1), sent(4, 2), GAP, delivered(7, 3), end(3)),
    ),
    "told before the last was sent": (
        {streams.COMPLETE},
        (STARTED, delivered(2, 1), GAP, sent(6, 2), end(2)),
    ),
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
