"""Sends again what a broken layer connection swallowed.

The channel layer delivers at most once, and says nothing about what it lost. So each process keeps a log
of the envelopes it sent lately. A process whose connection to the layer was broken asks the others for
what it has not seen, holds back what arrives meanwhile, and then delivers everything in the order in which
each sender numbered it. What no log reaches back to is a gap, and whoever may have missed something is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

MAX_BYTES: Final = 4 * 2**20
MAX_SECONDS: Final = 60.0
VALUE_BYTES: Final = 30
"""What any value takes, whatever it holds."""
MAX_HELD: Final = 20_000
"""Envelopes held back during one recovery."""

Entry = tuple[int, list[Any]]
"""Number and items of one envelope."""


class Log:
    """The envelopes that this process sent lately: bounded in bytes and in age."""

    def __init__(
        self,
        max_bytes: int = MAX_BYTES,
        max_seconds: float = MAX_SECONDS,
        clock: Callable[[], float] = monotonic,
        on_lost: Callable[[int], None] = lambda items: None,
    ) -> None:
        self._on_lost = on_lost
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._clock = clock
        self._sent: deque[tuple[Entry, float, int]] = deque()
        self._bytes = 0
        self._dropped = 0
        self._unsent: dict[int, int] = {}

    @property
    def unsent(self) -> int:
        """Items here that have not reached the layer."""
        return sum(self._unsent.values())

    def append(self, entry: Entry) -> None:
        """Keep an envelope, unsent as yet; its number is higher than those before."""
        weight = _weight(entry)
        self._sent.append((entry, self._clock(), weight))
        self._unsent[entry[0]] = len(entry[1])
        self._bytes += weight
        self._forget()

    def sent(self, number: int) -> None:
        """The layer has taken an envelope."""
        self._unsent.pop(number, None)

    def announced(self) -> None:
        """The others know that something here never left, and will ask for it."""
        self._unsent.clear()

    def after(self, number: int) -> tuple[list[Entry], bool]:
        """The envelopes numbered above `number`, and whether those are all there were."""
        self._forget()
        return [entry for entry, _, _ in self._sent if entry[0] > number], self._dropped <= number

    def _forget(self) -> None:
        oldest = self._clock() - self._max_seconds
        while self._sent and (self._bytes > self._max_bytes or self._sent[0][1] < oldest):
            entry, _, weight = self._sent.popleft()
            self._bytes -= weight
            self._dropped = entry[0]
            if lost := self._unsent.pop(entry[0], 0):
                self._on_lost(lost)


class Recovery:
    """One recovery: who is still asked, what they sent again, what is held back meanwhile."""

    def __init__(self, peers: Iterable[str]) -> None:
        self.waiting_for = set(peers)
        self.gap = False
        self._replayed: dict[str, dict[int, Entry]] = {}
        self._held = 0

    def ask_again(self, peers: Iterable[str]) -> None:
        """The connection broke once more: earlier answers do not cover what came between."""
        self.waiting_for.update(peers)

    def hold(self, sender: str, entry: Entry) -> None:
        """Keep back an envelope that came after the break; too many of them are a gap."""
        if self._held >= MAX_HELD:
            self.gap = True
            return
        self._held += 1
        self._replayed.setdefault(sender, {})[entry[0]] = entry

    def replay(self, sender: str, entries: Iterable[Entry], complete: bool) -> None:
        """Take a sender's answer; an incomplete one is a gap."""
        if sender not in self.waiting_for:
            return
        self.waiting_for.discard(sender)
        self.gap = self.gap or not complete
        self._replayed.setdefault(sender, {}).update({entry[0]: entry for entry in entries})

    def finish(self) -> list[tuple[str, Entry]]:
        """Everything that came, in each sender's order. Senders that did not answer leave a gap."""
        self.gap = self.gap or bool(self.waiting_for)
        return [
            (sender, entries[number])
            for sender, entries in self._replayed.items()
            for number in sorted(entries)
        ]


def _weight(entry: Entry) -> int:
    """About how many bytes an envelope takes."""
    return 200 + sum(size_of(item) for item in entry[1])


def size_of(item: Any) -> int:
    """About how many bytes a message takes.

    Without recursion: how deeply it is nested is its sender's choice.
    """
    if isinstance(item, str):
        return VALUE_BYTES + len(item)
    total, rest = 0, [item]
    while rest:
        value = rest.pop()
        total += VALUE_BYTES
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, dict):
            rest += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            rest += value
    return total
