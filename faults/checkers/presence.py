"""Listings and lobbies: who is said to be there is there.

Words: `present` (`address`: the client is subscribed, and stays so), `absent` (`address`), `listed`
(`address`, `clients`: a listing that was asked for when all was quiet), `joined` and `left` (`address`,
`client`: what a member was told of another one), `rejoined` (`address`: a member that begins anew, and is
told of all again).
"""

from __future__ import annotations

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
    for listed in of(events, "listed"):
        own = [one for one in changes if one["address"] == listed["address"] and one.at <= listed.at]
        recent = any(one.at > listed.at - patience for one in own)
        if recent or not disturbed.is_quiet(listed.at, patience):
            continue
        there = {one.who: one for one in own}  # the last word of each
        truth = {who for who, one in there.items() if one.what == "present"}
        wrong = truth ^ set(listed["clients"])
        if wrong:
            why = f"{listed['address']} lists {sorted(listed['clients'])}, and there are {sorted(truth)}"
            found.append(Violation(LISTINGS, why, shortest([listed, *(there.get(one) for one in wrong)])))
    return found


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
