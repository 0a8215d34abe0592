"""Listings and lobbies: who is said to be there is there.

Words: `present` (`address`: the client is subscribed, and stays so) and `absent` (`address`), both with a
`client` where a listing calls it by another name than `who`, which others may have as well; `listed`
(`address`, `clients`: a listing asked for when all was quiet), `counted` (`address`, `count`: the same
for a number), `joined` and `left` (`address`, `client`: what a member was told of another one), `rejoined`
(`address`: a member that begins anew, and is told of all again). An address is whatever has a listing. Of
clients that have changed a moment ago nothing is demanded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from faults.checkers.faulty import disturbances
from faults.checkers.violation import Violation, shortest
from faults.history import Event, of

LISTINGS: Final = "A listing is the truth within the lease and five seconds after the last fault"
PAIRS: Final = "Every JOINED has a LEFT, and none comes twice"


def check(events: Iterable[Event], lease: float) -> list[Violation]:
    """What is wrong with the presence of a history; `lease` in seconds."""
    events = list(events)
    return [*_listings(events, lease + 5), *_pairs(events)]


def _listings(events: Sequence[Event], patience: float) -> list[Violation]:
    found = []
    disturbed = disturbances(events)
    changes = of(events, "present", "absent")
    for listed in of(events, "listed", "counted"):
        if not disturbed.is_quiet(listed.at, patience):
            continue
        own = [one for one in changes if one["address"] == listed["address"] and one.at <= listed.at]
        last = list({one.who: one for one in own}.values())
        truth = Counter(_name(one) for one in last if one.what == "present")
        recent = {_name(one) for one in last if one.at > listed.at - patience}
        if listed.what == "counted":
            if not recent and listed["count"] != truth.total():
                found.append(_untrue(listed, listed["count"], truth, []))
        else:
            there = Counter(listed["clients"])
            wrong = {*(truth - there), *(there - truth)} - recent
            if wrong:
                proof = [one for one in last if _name(one) in wrong]
                found.append(_untrue(listed, sorted(there.elements()), truth, proof))
    return found


def _untrue(listed: Event, said: object, truth: Counter[str], proof: Sequence[Event]) -> Violation:
    why = f"{listed['address']} has {said}, and there are {sorted(truth.elements())}"
    return Violation(LISTINGS, why, shortest([listed, *proof]))


def _name(event: Event) -> str:
    """As listings call a client."""
    name: str = event.data.get("client", event.who)
    return name


def _pairs(events: Sequence[Event]) -> list[Violation]:
    found = []
    known: dict[tuple[str, str, str], Event] = {}
    for event in of(events, "joined", "left", "rejoined"):
        if event.what == "rejoined":
            gone = [key for key in known if key[:2] == (event.who, event["address"])]
            for key in gone:
                del known[key]
            continue
        key = event.who, event["address"], event["client"]
        before = known.get(key)
        if event.what == "joined" and before is not None and before.what == "joined":
            found.append(Violation(PAIRS, f"{event['client']} joined twice", (before, event)))
        elif event.what == "left" and (before is None or before.what == "left"):
            why = f"{event['client']} left, and had not joined"
            found.append(Violation(PAIRS, why, shortest([before, event])))
        known[key] = event
    return found
