"""Notable events of a worker: bounded, and equal ones of a second are one with a count."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import time
from typing import Any, Final

KEPT: Final = 300
"""Events that a worker keeps."""
SAME_SECONDS: Final = 120
"""Several workers notice that one has come or gone: within so many seconds that is one event."""


@dataclass(slots=True)
class Event:
    """Something that an operator wants to see. `about` is a worker's id where others tell of it, too."""

    number: int
    second: int
    kind: str
    text: str
    about: str = ""
    count: int = 1

    def shown(self, worker: str) -> dict[str, Any]:
        """The event as it is sent, with the worker that has noticed it."""
        return {
            "at": self.second,
            "worker": self.about or worker,
            "kind": self.kind,
            "text": self.text,
            "count": self.count,
            "number": self.number,
            "about": self.about,
        }


class Events:
    """The last events of one worker."""

    def __init__(self, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._number = 0

    def note(self, kind: str, text: str, count: int = 1, about: str = "") -> None:
        """Something has happened now, so many times."""
        second = int(self._clock())
        for event in reversed(self._kept):
            if event.second != second:
                break
            if (event.kind, event.text, event.about) == (kind, text, about):
                event.count += count
                return
        self._number += 1
        self._kept.append(Event(self._number, second, kind, text, about, count))

    def since(self, number: int) -> list[Event]:
        """The events after the one of that number, of seconds that are over: they change no more."""
        now = int(self._clock())
        return [event for event in self._kept if event.number > number and event.second < now]


def merged(known: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of new events as they are shown those that no known one, and none before, tells already."""
    told = {(one["kind"], one["about"]): one["at"] for one in known if one["about"]}
    fresh = []
    for one in sorted(new, key=lambda event: event["at"]):
        key = one["kind"], one["about"]
        if one["about"] and abs(told.get(key, -SAME_SECONDS * 2) - one["at"]) < SAME_SECONDS:
            continue
        if one["about"]:
            told[key] = one["at"]
        fresh.append(one)
    return fresh
