"""Revocations: what is revoked is gone within five seconds, and does not come back.

Words: `revoked` (`name`: the answer has come), `let_in` (`name`: a client that carries it was connected),
`served` (`name`: such a client got an answer or a message), `sent_away` (`name`). A worker that is stopped or
cut off cannot know: what it does counts once its faults are healed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from faults.checkers.faulty import disturbances
from faults.checkers.violation import Violation
from faults.history import Event, of

SECONDS: Final = 5.0
GONE: Final = "What is revoked is gone within five seconds"


def check(events: Iterable[Event], slack: float) -> list[Violation]:
    """What is wrong with the revocations of a history; a frame may be on its way for `slack` seconds."""
    events = list(events)
    disturbed = disturbances(events)
    revoked: dict[str, Event] = {}
    found = []
    for event in of(events, "revoked", "let_in", "served"):
        name = event["name"]
        if event.what == "revoked":
            revoked.setdefault(name, event)
        elif (row := revoked.get(name)) is None or event.at <= row.at + SECONDS + slack:
            continue
        elif disturbed.is_quiet(event.at, SECONDS + slack):
            why = f"{name} is {event.what.replace('_', ' ')} {event.at - row.at:.1f} s after"
            found.append(Violation(GONE, why, (row, event)))
            del revoked[name]  # one is enough
    return found
