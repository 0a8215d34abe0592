"""Requests: one answer at most, and an end always.

Words: `asked` (`request`: an id of its own), `partial` (`request`), `answered` (`request`: a reply or an
error), `gave_up` (`request`: the connection is over, or the time), `quiet` (see `delivery`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from faults.checkers.violation import Violation, shortest
from faults.history import Event, of

ONE: Final = "A request has one answer at most"
LATE: Final = "Nothing comes behind the answer to a request"
END: Final = "A request has an end"


def check(events: Iterable[Event]) -> list[Violation]:
    """What is wrong with the requests of a history."""
    events = list(events)
    is_quiet = bool(of(events, "quiet"))
    found = []
    by_request: dict[str, list[Event]] = {}
    for event in of(events, "asked", "partial", "answered", "gave_up"):
        by_request.setdefault(event["request"], []).append(event)
    for request, own in by_request.items():
        answers = of(own, "answered")
        if len(answers) > 1:
            found.append(Violation(ONE, f"{request} has {len(answers)}", tuple(answers)))
        late = [one for one in of(own, "partial") if answers and one.at > answers[0].at]
        if late:
            found.append(Violation(LATE, f"a part of {request}", shortest([answers[0], late[0]])))
        if is_quiet and not of(own, "answered", "gave_up"):
            found.append(Violation(END, f"{request} has none", tuple(own)))
    return found
