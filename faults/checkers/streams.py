"""Streams: recovered implies complete, offsets without holes, one message for an id.

Words: `stream.started` (`address`, `epoch`, `offset`: a subscription that begins at a position),
`stream.recovered` (`address`: one that goes on, and gets all that it missed), `stream.told` (`address`,
`epoch`, `offset`: one that goes on elsewhere, and was told that something is missing), `stream.gap`
(something is missing at any address of the connection), `stream.delivered` (`id`, `positions`:
`{address: [epoch, offset]}`), `stream.published` (`positions`, `begun`: the server has taken what the
publisher began to send at that time), `stream.end` (`address`, `epoch`, `offset`: where a stream stands when
all is quiet).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from faults.checkers.violation import Violation, shortest
from faults.history import Event, of

COMPLETE: Final = "Recovered means complete, and a hole is told"
HOLES: Final = "A position comes once, and has one message for all"
IDS: Final = "An id is one message in an epoch"
NEVER: Final = float("-inf")


class Place(NamedTuple):
    """A position in a stream."""

    epoch: str
    offset: int


def check(events: Iterable[Event]) -> list[Violation]:
    """What is wrong with the streams of a history."""
    events = [one for one in events if one.what.startswith("stream.")]
    ends = {one["address"]: one for one in of(events, "stream.end")}
    begun = _begun(events)
    found = _contradictions(events)
    for reader in sorted({one.who for one in of(events, "stream.started")}):
        own = [one for one in events if one.who == reader and one.what != "stream.end"]
        for address in sorted({one["address"] for one in of(own, "stream.started")}):
            found += _holes(own, address, ends.get(address), begun[address])
            found += _repeats(own, address)
    return found


def _place(event: Event, address: str) -> Place | None:
    """Where an event puts a reader; None where it says nothing of that."""
    if event.what == "stream.delivered":
        place = event["positions"].get(address)
        return None if place is None else Place(*place)
    if event.what in ("stream.started", "stream.told", "stream.end") and event["address"] == address:
        return Place(event["epoch"], event["offset"])
    return None


def _begun(events: Iterable[Event]) -> dict[str, dict[Place, float]]:
    """When the message of each position was sent, by address."""
    found: dict[str, dict[Place, float]] = defaultdict(dict)
    for event in of(events, "stream.published"):
        for address, place in event["positions"].items():
            found[address][Place(*place)] = event["begun"]
    return found


def _holes(
    own: Sequence[Event], address: str, end: Event | None, begun: Mapping[Place, float]
) -> list[Violation]:
    """Where what was delivered does not follow what was before, and nothing is told in between that was told
    when what is missing had been sent.

    What is left of an epoch that is over may have holes, and one gap tells of all of them.
    """
    found: list[Violation] = []
    over = _of_past_epochs(own, address)
    at: Place | None = None
    last: Event | None = None
    told = NEVER
    for event in own:
        if event.what == "stream.gap":
            told = event.at
        elif event.what == "stream.recovered" and event["address"] == address:
            told = NEVER
        elif (place := _place(event, address)) is not None:
            if event.what != "stream.delivered":
                told = NEVER
            elif at is not None and not _may_follow(at, place, told, begun):
                why = f"{own[0].who} has {place} of {address} behind {at}"
                found.append(Violation(COMPLETE, why, shortest([last, event])))
            else:
                told = told if id(event) in over else NEVER
            at, last = place, event
    stop = _place(end, address) if end is not None else None
    if stop is not None and at != stop and (told == NEVER or told < begun.get(stop, NEVER)):
        why = f"{own[0].who} ends at {at} of {address}, whose end is {stop}"
        found.append(Violation(COMPLETE, why, shortest([last, end])))
    return found


def _may_follow(at: Place, place: Place, told: float, begun: Mapping[Place, float]) -> bool:
    """False for what leaves a hole that was not told, and for what comes behind what it precedes."""
    first = at.offset + 1 if place.epoch == at.epoch else 1
    if place.offset < first:
        return False
    missing = [Place(place.epoch, offset) for offset in range(first, place.offset)]
    if place.epoch == at.epoch and not missing:
        return True
    return told > NEVER and all(told >= begun.get(one, NEVER) for one in missing)


def _of_past_epochs(own: Sequence[Event], address: str) -> set[int]:
    """The deliveries (by `id()`) whose epoch is followed by another one."""
    found: set[int] = set()
    latest = ""
    for event in reversed(own):
        place = _place(event, address)
        if place is None:
            continue
        if event.what != "stream.delivered":
            latest = place.epoch
        elif latest and latest != place.epoch:
            found.add(id(event))
        else:
            latest = place.epoch
    return found


def _repeats(own: Sequence[Event], address: str) -> list[Violation]:
    """Positions and ids that one reader got twice."""
    found = []
    places: dict[Place, Event] = {}
    ids: dict[tuple[str, str], Event] = {}
    for event in of(own, "stream.delivered"):
        place = _place(event, address)
        if place is None:
            continue
        if (before := places.setdefault(place, event)) is not event:
            found.append(Violation(HOLES, f"{own[0].who} has {place} of {address} twice", (before, event)))
        if (before := ids.setdefault((event["id"], place.epoch), event)) is not event:
            found.append(Violation(IDS, f"{event['id']} comes twice to {address}", (before, event)))
    return found


def _contradictions(events: Sequence[Event]) -> list[Violation]:
    """Positions at which readers have seen different messages."""
    found = []
    seen: dict[tuple[str, str, int], Event] = {}
    for event in of(events, "stream.delivered"):
        for address, (epoch, offset) in event["positions"].items():
            first = seen.setdefault((address, epoch, offset), event)
            if first["id"] != event["id"]:
                why = f"{Place(epoch, offset)} of {address} is {first['id']}, and {event['id']}"
                found.append(Violation(HOLES, why, (first, event)))
    return found
