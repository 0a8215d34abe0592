"""What was published, what of it each receiver has, and how long it took. Pure but for what is given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

_MARK: Final = re.compile(rb"\[\[(\d+) (\d+) (\d+)\]\]")
_FILLING: Final = "x" * 80
_TICK: Final = 1e-4
"""Seconds by which latencies are told apart."""
_UNSEEN: Final = -1


class Times:
    """Seconds from publish to receive, counted by the minute."""

    def __init__(self) -> None:
        self._minutes: dict[int, Counter[int]] = {}

    def add(self, minute: int, seconds: float) -> None:
        self._minutes.setdefault(minute, Counter())[int(seconds / _TICK)] += 1

    @property
    def count(self) -> int:
        """All that were added."""
        return sum(minute.total() for minute in self._minutes.values())

    def percentile(self, share: float) -> float:
        """Milliseconds within which this share came."""
        return _percentile(sum(self._minutes.values(), Counter()), share)

    def by_minute(self, share: float) -> list[float]:
        """The same of each minute."""
        return [_percentile(ticks, share) for _, ticks in sorted(self._minutes.items())]


def _percentile(ticks: Counter[int], share: float) -> float:
    wanted = share * ticks.total()
    for tick, count in sorted(ticks.items()):
        wanted -= count
        if wanted <= 0:
            return round(1000 * _TICK * (tick + 1), 1)
    return 0.0


class Ledger:
    """Senders number their messages to each group, and all that a receiver gets is held against that."""

    def __init__(self, senders: int, groups: int) -> None:
        self._sent = [[0] * groups for _ in range(senders)]
        self.published = 0
        self.times = Times()
        self.faults: list[str] = []
        """Sentences about what came twice, in a wrong order or not at all; and what else went wrong."""

    def message(self, sender: int, group: int, now: float) -> str:
        """The next message; it is published in this moment."""
        self._sent[sender][group] += 1
        self.published += 1
        return f"[[{sender} {self._sent[sender][group]} {now * 1e6:.0f}]] {_FILLING}"

    def sent(self, sender: int, group: int) -> int:
        """The number of the last message."""
        return self._sent[sender][group]


class Receipts:
    """What one receiver has of the senders whose messages are for it."""

    def __init__(self, ledger: Ledger, name: str, group: int, senders: Iterable[int]) -> None:
        self.name = name
        self._ledger, self._group = ledger, group
        self._last = dict.fromkeys(senders, _UNSEEN)
        self._base: dict[int, int] = {}
        """What was published when it was told that it is subscribed; what follows has to come."""

    def begin(self) -> None:
        """It is subscribed now."""
        self._base = {sender: self._ledger.sent(sender, self._group) for sender in self._last}

    def take(self, frame: bytes, now: float) -> None:
        """Whatever a frame, or the answer to a poll, has of published messages."""
        for found in _MARK.finditer(frame):
            sender, number, microseconds = map(int, found.groups())
            self._note(sender, number)
            self._ledger.times.add(int(now / 60), now - microseconds / 1e6)

    def _note(self, sender: int, number: int) -> None:
        last = self._last.get(sender)
        if last is None:
            self._ledger.faults.append(f"{self.name} got a message of sender {sender}, which is for others")
            return
        # What was on its way when it subscribed may come or not, but then all that follows.
        is_first = last == _UNSEEN and number <= self._base.get(sender, number) + 1
        is_next = is_first or number == last + 1
        if not is_next:
            self._ledger.faults.append(
                f"{self.name} got number {number} of sender {sender} after {self._before(sender)}"
            )
        self._last[sender] = max(last, number)

    def missing(self) -> Iterator[str]:
        """Sentences about what was published and is not here."""
        for sender in self._last:
            sent = self._ledger.sent(sender, self._group)
            if (last := self._before(sender)) < sent:
                yield f"{self.name} has {last} of {sent} messages of sender {sender}"

    def _before(self, sender: int) -> int:
        last = self._last[sender]
        return self._base.get(sender, 0) if last == _UNSEEN else last
