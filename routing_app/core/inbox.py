"""What comes from other processes: each envelope once, in its sender's order, recovered after a break."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

from routing_app.core.replay import Entry, Recovery

PEER_SECONDS: Final = 5.0
"""A process that was silent for so long when we last heard anybody is not waited for."""
KNOWN_SENDERS: Final = 1024
"""Processes whose numbers are remembered."""
RECOVERY_SECONDS: Final = 3.0
"""How long the others may take to answer after a break."""


class Inbox:
    """Numbers seen and recovery under way; `deliver` gets the items of each envelope."""

    def __init__(self, deliver: Callable[[list[Any]], None], clock: Callable[[], float] = monotonic) -> None:
        self._deliver = deliver
        self._clock = clock
        self._seen: dict[str, int] = {}
        self._heard_at: dict[str, float] = {}
        self._recovery: Recovery | None = None
        self._deadline = 0.0

    @property
    def recovering(self) -> bool:
        """True from a break until everything that can be had again has been delivered."""
        return self._recovery is not None

    def take(self, sender: str, entry: Entry) -> None:
        """Deliver an envelope, or hold it back during a recovery; one seen before is dropped."""
        self._heard_at[sender] = self._clock()
        if self._recovery is not None:
            self._recovery.hold(sender, entry)
        else:
            self._deliver_new(sender, entry)

    def heartbeat(self, sender: str, number: int) -> None:
        """A process says that it lives, and that `number` was its last envelope."""
        if self._recovery is None:
            self._heard_at[sender] = self._clock()
            self._seen[sender] = max(number, self._seen.get(sender, 0))
        elif sender in self._seen:
            self._heard_at[sender] = self._clock()

    def goodbye(self, sender: str) -> None:
        """A process has ended in order: nothing more comes from it, and nothing is missing."""
        self._heard_at.pop(sender, None)
        self._seen.pop(sender, None)

    def broke(self) -> None:
        """Our connection to the layer was broken: from here on hold back, until `settle`."""
        last = max(self._heard_at.values(), default=0.0)
        self._ask([peer for peer, at in self._heard_at.items() if last - at < PEER_SECONDS])

    def missed(self, sender: str) -> None:
        """Some of what another process sent never left it. One that we never heard owes nothing."""
        if sender in self._seen:
            self._ask([sender])

    def _ask(self, peers: list[str]) -> None:
        self._deadline = self._clock() + RECOVERY_SECONDS
        if self._recovery is None:
            self._recovery = Recovery(peers)
        else:
            self._recovery.ask_again(peers)

    def wanted(self) -> dict[str, int]:
        """What to ask for: of each process that has not answered, everything above this number."""
        if self._recovery is None:
            return {}
        return {peer: self._seen.get(peer, 0) for peer in self._recovery.waiting_for}

    def replay(self, sender: str, entries: Iterable[Entry], complete: bool) -> None:
        """Take another process's answer."""
        if self._recovery is not None:
            self._recovery.replay(sender, entries, complete)

    def settle(self) -> bool:
        """End a recovery that is complete or late, delivering what came; True when something is missing."""
        recovery = self._recovery
        if recovery is None or (recovery.waiting_for and self._clock() < self._deadline):
            return False
        self._recovery = None
        for sender, entry in recovery.finish():
            self._deliver_new(sender, entry)
        return recovery.gap

    def _deliver_new(self, sender: str, entry: Entry) -> None:
        number, items = entry
        if number <= self._seen.get(sender, 0):
            return
        self._seen[sender] = number
        if len(self._seen) > KNOWN_SENDERS:
            self._forget_the_longest_silent()
        self._deliver(items)

    def _forget_the_longest_silent(self) -> None:
        self.goodbye(min(self._seen, key=lambda sender: self._heard_at.get(sender, 0.0)))
