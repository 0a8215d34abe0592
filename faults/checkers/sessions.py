"""Session control: never one stream too many, no slot lost, and one end for every session.

Words: `session.limit` (`customer`, `maximum`), `session.granted` (`session`, `customer`, `begun`: REST has
answered 200 to what was asked at that time), `session.denied` (`customer`), `session.unknown` (`customer`,
`begun`: no answer came), `session.ok` (`session`: the player may play), `session.alive` (`session`: the
server asked the player, or answered it), `session.lost` (`session`: its connection broke, and the server said
nothing), `session.ended` (`session`, `why`: the server said so), `session.finished` (`session`: the player is
about to say so), `session.row` (`session`, `ends`: how many ends the server's history has; `live`: it is in
the list of live ones).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from faults.checkers.faulty import disturbances
from faults.checkers.violation import Violation, shortest
from faults.history import Event, of

LIMIT: Final = "At no moment a customer plays more streams than the limit"
SLOT: Final = "No slot is lost for longer than the documented times"
END: Final = "Every session has exactly one end in the history"


@dataclass(slots=True)
class _Stream:
    """One session as its player knew it."""

    session: str
    customer: str
    granted: Event
    ok: Event | None = None
    proof: Event | None = None
    """The last sign that the server let it play."""
    finished: Event | None = None
    over: Event | None = None
    lost: Event | None = None
    signs: list[Event] = field(default_factory=list)


def check(events: Iterable[Event], slack: float, patience: float) -> list[Violation]:
    """What is wrong with the sessions of a history.

    `slack` is the longest time in seconds that a frame may have been on its way, `patience` the longest
    documented time after which a slot without a player is free.
    """
    events = list(events)
    streams = _streams(events)
    return [
        *_over_limit(events, streams, slack),
        *_lost_slots(events, streams, patience),
        *_ends(events),
    ]


def _streams(events: Sequence[Event]) -> list[_Stream]:
    found: dict[str, _Stream] = {}
    for event in events:
        if event.what == "session.granted":
            found[event["session"]] = _Stream(event["session"], event["customer"], event)
        elif event.what.startswith("session.") and (stream := found.get(event.data.get("session", ""))):
            _note(stream, event)
    return list(found.values())


def _note(stream: _Stream, event: Event) -> None:
    match event.what:
        case "session.ok":
            stream.ok = stream.ok or event
            stream.proof, stream.lost = event, None
        case "session.alive":
            stream.proof = event
        case "session.lost":
            stream.lost = event
        case "session.finished":
            stream.finished = stream.finished or event
        case "session.ended":
            stream.over = stream.over or event


def _maxima(events: Sequence[Event]) -> dict[str, int]:
    return {one["customer"]: one["maximum"] for one in of(events, "session.limit")}


# --- never one too many ---------------------------------------------------------------------------------


def _span(stream: _Stream, slack: float) -> tuple[float, float] | None:
    """When a stream played for certain: from its OK to the last sign of the server, which may have been on
    its way for `slack`; what a player does after its FINISHED proves nothing.
    """
    if stream.ok is None or stream.proof is None:
        return None
    end = stream.proof.at - (slack if stream.proof is not stream.ok else 0.0)
    if stream.finished is not None:
        end = min(end, stream.finished.at)
    return (stream.ok.at, end) if end > stream.ok.at else None


def _over_limit(events: Sequence[Event], streams: Sequence[_Stream], slack: float) -> list[Violation]:
    found = []
    for customer, maximum in _maxima(events).items():
        spans = [(span, one) for one in streams if one.customer == customer and (span := _span(one, slack))]
        for (begin, _), last in spans:
            playing = [one for (start, end), one in spans if start <= begin < end]
            if len(playing) > maximum:
                shown = [event for one in playing for event in (one.ok, one.proof)]
                why = f"{customer} has {maximum}, and {len(playing)} play when {last.session} gets its OK"
                found.append(Violation(LIMIT, why, shortest(shown)))
                break
    return found


# --- no slot lost ---------------------------------------------------------------------------------------


def _holds_until(stream: _Stream, patience: float) -> float:
    """The latest time at which a stream may still hold its slot."""
    over = stream.over or stream.finished
    if over is not None:
        return over.at + patience
    if stream.lost is not None:
        return stream.lost.at + patience
    return stream.granted.at + patience if stream.ok is None else float("inf")


def _lost_slots(events: Sequence[Event], streams: Sequence[_Stream], patience: float) -> list[Violation]:
    found = []
    maxima, disturbed = _maxima(events), disturbances(events)
    for denied in of(events, "session.denied"):
        customer = denied["customer"]
        if customer not in maxima or not disturbed.is_quiet(denied.at, patience):
            continue
        holding = [
            one
            for one in streams
            if one.customer == customer
            and one.granted["begun"] <= denied.at
            and _holds_until(one, patience) >= denied.at
        ]
        unknown = [
            one
            for one in of(events, "session.unknown")
            if one["customer"] == customer and one["begun"] <= denied.at <= one.at + patience
        ]
        taken = len(holding) + len(unknown)
        if taken < maxima[customer]:
            shown = [denied, *(one.granted for one in holding)]
            why = f"{customer} is denied, has {maxima[customer]} slots, and {taken} may be taken"
            found.append(Violation(SLOT, why, shortest(shown)))
    return found


# --- one end --------------------------------------------------------------------------------------------


def _ends(events: Sequence[Event]) -> list[Violation]:
    rows = of(events, "session.row")
    granted = {one["session"]: one for one in of(events, "session.granted")}
    found = [
        Violation(END, f"{one['session']} has {one['ends']}", shortest([granted.get(one["session"]), one]))
        for one in rows
        if one["ends"] != (0 if one["live"] else 1)
    ]
    if rows:
        missing = granted.keys() - {one["session"] for one in rows}
        found += [Violation(END, f"{one} is in no list", (granted[one],)) for one in sorted(missing)]
    return found
