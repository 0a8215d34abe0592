"""What every client of a run did and saw, with times: append-only, and all that the checkers know."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

NEMESIS: Final = "nemesis"
"""Who does the faults."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a client did or saw.

    `at` is in seconds since the run began, by the one clock of all clients; `what` is a word of one checker
    (its module says which there are), `data` its fields, which JSON can hold.
    """

    at: float
    who: str
    what: str
    data: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """A field. Raises KeyError."""
        return self.data[name]

    def __str__(self) -> str:
        fields = " ".join(f"{name}={json.dumps(value)}" for name, value in self.data.items())
        return f"{self.at:9.3f}  {self.who:<16} {self.what:<18} {fields}"


class History:
    """The events of a run, in the order in which they were noted; from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._events: list[Event] = []
        self._lock = threading.Lock()

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._began

    def note(self, who: str, what: str, **data: Any) -> Event:
        """Append what has just happened."""
        with self._lock:  # the order of the times is that of the events
            event = Event(self.now, who, what, data)
            self._events.append(event)
        return event

    def __iter__(self) -> Iterator[Event]:
        return iter(list(self._events))

    def __len__(self) -> int:
        return len(self._events)


def write(events: Iterable[Event], file: Path) -> None:
    """Write events as JSON lines."""
    lines = (json.dumps([one.at, one.who, one.what, one.data]) for one in events)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(file: Path) -> list[Event]:
    """The events of a file. Raises OSError and ValueError."""
    return [Event(*json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def of(events: Iterable[Event], *whats: str) -> list[Event]:
    """The events with one of those words."""
    return [one for one in events if one.what in whats]
