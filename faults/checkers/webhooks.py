"""Webhooks: at least once for what was committed, and none for what was rolled back.

Words: `change.begun` (`change`: an id of its own), `change.committed` (`change`), `change.rolled_back`
(`change`), `hook.received` (`change`, `delivery`: its webhook-id), `quiet` (see `delivery`). A change whose
outcome nobody knows has neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from faults.checkers.violation import Violation
from faults.history import Event, of

LEAST: Final = "What was committed is reported"
NONE: Final = "What was rolled back is not reported"
SAME: Final = "A report that comes again has the same id"


def check(events: Iterable[Event]) -> list[Violation]:
    """What is wrong with the webhooks of a history."""
    events = list(events)
    received: dict[str, list[Event]] = {}
    for event in of(events, "hook.received"):
        received.setdefault(event["change"], []).append(event)
    committed = of(events, "change.committed") if of(events, "quiet") else []
    missing = [one for one in committed if one["change"] not in received]
    rolled_back = [one for one in of(events, "change.rolled_back") if one["change"] in received]
    found = [Violation(LEAST, f"{one['change']} is not", (one,)) for one in missing]
    found += [
        Violation(NONE, f"{one['change']} is", (one, received[one["change"]][0])) for one in rolled_back
    ]
    for change, reports in received.items():
        if len({one["delivery"] for one in reports}) > 1:
            found.append(Violation(SAME, f"{change} has several", tuple(reports)))
    return found
