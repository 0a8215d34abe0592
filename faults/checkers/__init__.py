"""What looks for broken promises in a history: pure functions over its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from faults.checkers import (
    delivery,
    presence,
    registrations,
    requests,
    revocations,
    sessions,
    streams,
    webhooks,
)
from faults.checkers.violation import Violation
from faults.history import Event


@dataclass(frozen=True, slots=True)
class Times:
    """The documented times of a run, in seconds, as its servers were set."""

    frame: float = 3.0
    """The longest that a frame may be on its way between a server and a client."""
    slot: float = 90.0
    """After so long a slot without a player is free."""
    lease: float = 15.0


def check(events: Iterable[Event], times: Times) -> list[Violation]:
    """All that is wrong with a history."""
    events = list(events)
    return [
        *sessions.check(events, times.frame, times.slot),
        *delivery.check(events),
        *streams.check(events),
        *presence.check(events, times.lease),
        *registrations.check(events),
        *requests.check(events),
        *webhooks.check(events),
        *revocations.check(events, times.frame),
    ]


__all__ = ["Times", "Violation", "check"]
