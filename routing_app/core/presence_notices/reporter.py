"""What this worker reports to others: who comes to the addresses that are watched there, and who leaves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from routing_app.core.delivery.hub import Hub
from routing_app.core.presence_notices.changes import MOST, Change, net, packed
from routing_app.core.presence_notices.messages import ANSWER, ANY, REPORT

GATHER_SECONDS: Final = 0.05
"""Changes are gathered so long before they are reported; the watching worker gathers on."""

Tell = Callable[[str, str, list[Any]], None]
"""Sends a message of an event to a worker."""


class Timer(Protocol):
    """A call that will be made."""

    def cancel(self) -> None:
        """Do not make it."""


Later = Callable[[float, Callable[[], None]], Timer]
"""Makes a call in some seconds, as the loop's `call_later`."""


class Interest:
    """An address that other workers watch."""

    __slots__ = ("askers", "changes", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        self.changes: list[Change] = []
        self.askers: dict[str, int] = {}
        """The workers that watch, each with the number of its last question."""


class Reporter:
    """The reports of one worker."""

    def __init__(self, worker_id: str, hub: Hub, tell: Tell, later: Later) -> None:
        self._worker_id = worker_id
        self._hub = hub
        self._tell = tell
        self._later = later
        # Over all addresses: so an interest that ends and begins again never has an old version.
        self._versions = itertools.count(1)
        self._interests: dict[str, Interest] = {}
        self._changed: dict[str, None] = {}
        self._timer: Timer | None = None

    def __bool__(self) -> bool:
        return bool(self._interests)

    def askers(self) -> set[str]:
        """The workers that watch something."""
        return {asker for interest in self._interests.values() for asker in interest.askers}

    def note(self, address: str, change: Change) -> None:
        """Report a change, if somebody watches the address."""
        if (interest := self._interests.get(address)) is None:
            return
        interest.changes.append(change)
        self._changed[address] = None
        if self._timer is None:
            self._timer = self._later(GATHER_SECONDS, self.flush)

    def flush(self) -> None:
        """Report what was gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changed, self._changed = self._changed, {}
        reports: dict[str, dict[str, list[Any]]] = {}
        for address in changed:
            if (interest := self._interests.get(address)) is None:
                continue
            found = net(interest.changes)
            interest.changes = []
            if not found:
                continue
            before, interest.version = interest.version, next(self._versions)
            names = [packed(found.joined), packed(found.left)] if found.is_known else [None, None]
            step = [before, interest.version, self._hub.count(address), *names]
            for asker in interest.askers:
                reports.setdefault(asker, {})[address] = step
        for asker, steps in reports.items():
            self._tell(asker, REPORT, [self._worker_id, steps])

    def stop(self) -> None:
        """Report what was gathered, and nothing more."""
        self.flush()
        self._interests.clear()

    def watched(self, asker: str, number: int, wanted: Mapping[str, int]) -> None:
        """Another worker watches addresses: answer, and report to it from now on."""
        # First: an answer says what is known, and reports after it begin there.
        self.flush()
        self._tell(
            asker,
            ANSWER,
            [
                self._worker_id,
                number,
                {address: self._state(address, asker, number, known) for address, known in wanted.items()},
            ],
        )

    def unwatched(self, asker: str, number: int, addresses: Iterable[str]) -> None:
        """Another worker does not watch addresses any more, unless it has asked again since."""
        for address in addresses:
            interest = self._interests.get(address)
            if interest is not None and interest.askers.get(asker, number + 1) <= number:
                self._end(address, interest, asker)

    def gone(self, asker: str) -> None:
        """Another worker has ended."""
        for address, interest in list(self._interests.items()):
            if asker in interest.askers:
                self._end(address, interest, asker)

    def _state(self, address: str, asker: str, number: int, known: int) -> list[Any]:
        interest = self._interests.get(address)
        if interest is None:
            interest = self._interests[address] = Interest(next(self._versions))
        is_known = known == interest.version or (known == ANY and asker in interest.askers)
        interest.askers[asker] = max(number, interest.askers.get(asker, 0))
        if is_known:
            return [interest.version]
        members = self._hub.members(address)
        return [interest.version, len(members), packed(members) if len(members) <= MOST else None]

    def _end(self, address: str, interest: Interest, asker: str) -> None:
        del interest.askers[asker]
        if not interest.askers:
            del self._interests[address]
