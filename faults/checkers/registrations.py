"""Registrations: what was answered as done is done, whatever fails afterwards.

Words: `registration.created` (`kind`, `name`: the answer has come), `registration.deleting` (`kind`, `name`:
from here on it may be gone), `registration.deleted` (`kind`, `name`: the answer has come), and
`registration.listed` (`kind`, `names`, `begun`: what was there, asked for at that time). A name is created
once. One whose answer did not come may be there or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from faults.checkers.violation import Violation
from faults.history import Event

KEPT: Final = "What was answered as created is there"
GONE: Final = "What was answered as deleted is not there"


def check(events: Iterable[Event]) -> list[Violation]:
    """What is wrong with the registrations of a history."""
    created: dict[tuple[str, str], Event] = {}
    deleted: dict[tuple[str, str], Event] = {}
    found: list[Violation] = []
    for event in events:
        match event.what:
            case "registration.created":
                created[event["kind"], event["name"]] = event
            case "registration.deleting":
                created.pop((event["kind"], event["name"]), None)
            case "registration.deleted":
                deleted[event["kind"], event["name"]] = event
            case "registration.listed":
                found += _wrong(event, created, deleted)
    return found


def _wrong(
    listed: Event, created: dict[tuple[str, str], Event], deleted: dict[tuple[str, str], Event]
) -> list[Violation]:
    """What one listing lacks, and what it has too much."""
    kind, names = listed["kind"], set(listed["names"])
    lost = _answered(created, listed) - names
    back = _answered(deleted, listed) & names
    return [
        *(Violation(KEPT, f"the {kind} {one} is not", (created[kind, one], listed)) for one in sorted(lost)),
        *(Violation(GONE, f"the {kind} {one} is", (deleted[kind, one], listed)) for one in sorted(back)),
    ]


def _answered(answers: dict[tuple[str, str], Event], listed: Event) -> set[str]:
    """The names that were answered for before a listing was asked for."""
    return {
        name
        for (kind, name), event in answers.items()
        if kind == listed["kind"] and event.at <= listed["begun"]
    }
