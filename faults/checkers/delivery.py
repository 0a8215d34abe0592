"""Messages: in order, at most once, and none is missing in silence.

Words: `connected` (`address`: a connection begins), `subscribed` (`address`: the answer has come),
`unsubscribed` (`address`), `published` (`address`, `number`, `begun`: the server has taken what the sender
began to send at that time; `number` grows by one for each sender and address), `received` (`address`,
`sender`, `number`), `told` (`addresses`: something is missing at those of a connection, or it is over: a gap,
a close, a broken connection), `recovered` (`address`: behind a broken connection the server says that the
session goes on: what was told of the break is taken back, and nothing may come again), `lost` (by a server:
it has counted messages as lost, and may have told nobody), `quiet` (by the nemesis: everything that was
published has arrived, or never will).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from faults.checkers.violation import Violation, shortest
from faults.history import Event, of

ORDER: Final = "Messages of one sender to one address come in order"
ONCE: Final = "A message comes to a connection at most once"
SILENCE: Final = "No message is missing in silence"
OWN: Final = ("connected", "subscribed", "unsubscribed", "received", "told", "recovered")
"""What a receiver notes."""
COUNTED_SECONDS: Final = 40.0
"""A message that was lost is counted so long after it was published, at the latest: what died with a worker
when its lease has ended, and others have looked."""


def check(events: Iterable[Event]) -> list[Violation]:
    """What is wrong with the messages of a history."""
    events = list(events)
    published: dict[tuple[str, str], dict[int, Event]] = defaultdict(dict)
    for event in of(events, "published"):
        published[event.who, event["address"]][event["number"]] = event
    quiet = max((one.at for one in of(events, "quiet")), default=None)
    lost = of(events, "lost")
    noted = of(events, *OWN)
    found = []
    for receiver in sorted({one.who for one in of(events, "subscribed")}):
        own = _without_recovered_breaks(one for one in noted if one.who == receiver)
        for address in sorted({one["address"] for one in of(own, "subscribed")}):
            found += _of_address(own, address, published, quiet, lost)
    return found


def _without_recovered_breaks(own: Iterable[Event]) -> list[Event]:
    """The events of a receiver as if its sessions that were recovered had never been interrupted."""
    kept: list[Event] = []
    for event in own:
        if event.what != "recovered":
            kept.append(event)
            continue
        while kept and kept[-1].what in ("told", "unsubscribed"):
            kept.pop()
    return kept


def _of_address(
    own: Sequence[Event],
    address: str,
    published: dict[tuple[str, str], dict[int, Event]],
    quiet: float | None,
    lost: Sequence[Event],
) -> list[Violation]:
    """What is wrong with one address of one receiver."""
    found = []
    for sender in sorted(one for one, to in published if to == address):
        received = [
            one for one in of(own, "received") if one["address"] == address and one["sender"] == sender
        ]
        found += _disorder(own, address, sender)
        found += _missing(own, address, received, published[sender, address], quiet, lost)
    return found


def _disorder(own: Sequence[Event], address: str, sender: str) -> list[Violation]:
    """What comes twice or too late over one connection; the next one begins anew."""
    found = []
    seen: dict[int, Event] = {}
    latest: Event | None = None
    for event in of(own, "received", "connected"):
        if event["address"] != address:
            continue
        if event.what == "connected":
            seen, latest = {}, None
            continue
        if event["sender"] != sender:
            continue
        number = event["number"]
        if number in seen:
            found.append(Violation(ONCE, f"{number} of {sender} comes again", (seen[number], event)))
        elif latest is not None and number < latest["number"]:
            why = f"{number} of {sender} comes behind {latest['number']}"
            found.append(Violation(ORDER, why, (latest, event)))
        seen.setdefault(number, event)
        latest = event if latest is None or number > latest["number"] else latest
    return found


def _missing(
    own: Sequence[Event],
    address: str,
    received: Sequence[Event],
    published: dict[int, Event],
    quiet: float | None,
    lost: Sequence[Event],
) -> list[Violation]:
    """Messages that were published within a subscription, did not come, and of which nothing was told.

    Something has to be told of this address after what came last before them, after the subscription, and
    after the sender has begun to send; and before what came next.
    """
    numbers = {one["number"]: one for one in received}
    told = [one for one in of(own, "told") if address in one["addresses"]]
    for number, event in sorted(published.items()):
        if number in numbers:
            continue
        begin = _subscription(own, address, event["begun"])
        if begin is None or _is_counted(event, lost):
            continue
        before = max((one for one in numbers.values() if one["number"] < number), key=_at, default=begin)
        after = min((one for one in numbers.values() if one["number"] > number), key=_at, default=None)
        until = after.at if after is not None else quiet
        since = max(begin.at, before.at, event["begun"])
        if until is not None and not any(since <= one.at <= until for one in told):
            why = f"{number} of {event.who} to {address} never came to {own[0].who}"
            return [Violation(SILENCE, why, shortest([begin, before, event, after]))]
    return []


def _is_counted(event: Event, lost: Sequence[Event]) -> bool:
    return any(event["begun"] <= one.at <= event.at + COUNTED_SECONDS for one in lost)


def _at(event: Event) -> float:
    return event.at


def _subscription(own: Sequence[Event], address: str, at: float) -> Event | None:
    """What began the subscription of a time; None where there was none."""
    found = None
    for event in own:
        if event.at > at:
            break
        if event.what in ("subscribed", "unsubscribed") and event["address"] == address:
            found = event if event.what == "subscribed" else None
    return found
