"""Envelopes of other processes: each once and in its sender's order, also those that have to be sent again.

Each process numbers its envelopes 1, 2, 3, … over all addresses. This process receives only those for its own
addresses, so a missing number means nothing by itself. Envelopes are missing in three cases only: our
connection to the layer broke; their sender says that some never left (`hole`); or the first envelope comes
from a process that may have sent something before, while ours was broken. The sender is then asked for all
envelopes above `cursor`. Until it has answered, its new envelopes are held back, since they are later ones.
Envelopes of other senders are delivered as they come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.cluster.heartbeats import SHORTEST_SECONDS
from routing_app.core.cluster.peer import PeerRecord
from routing_app.core.cluster.replay import Entry

PEER_SECONDS: Final = 4.0
"""A process whose heartbeat was so much later than it had announced, when the last envelope of any came, may
be gone, and is not waited for: it is asked when it sends again."""
KNOWN_SENDERS: Final = 4096
"""Processes whose numbers are remembered."""
RECOVERY_SECONDS: Final = 3.0
"""Longest time until a process answers, or sends the next part."""
PART_SECONDS: Final = 1.0
"""A question is not repeated for so long after a part of its answer."""
SAME_HOST_SECONDS: Final = 0.5
"""Processes of one host share a clock: an offset below this is the time that heartbeats take."""
LATE_SECONDS: Final = 1.0
"""An envelope that took longer may be older than subscriptions here."""
MAX_HELD: Final = 20_000
"""Envelopes held back at once."""

Deliver = Callable[[list[Any], float | None], None]
"""Takes the items of an envelope, and how much our clock is ahead of their sender's; None where they are too
fresh for a subscription to have begun since."""


Tell = Callable[[float], object]
"""Takes the time (of our clock) before which lost messages were published."""


class EnvelopeReceiver:
    """All other processes that have sent something; `ask` is called when there is something in `wanted`.

    `tell` is called before what comes behind lost messages is delivered.
    """

    def __init__(
        self,
        deliver: Deliver,
        ask: Callable[[], None],
        clock: Callable[[], float] = monotonic,
        tell: Tell = lambda until: None,
    ) -> None:
        self._deliver = deliver
        self._ask = ask
        self._clock = clock
        self._tell = tell
        self._peers: dict[str, PeerRecord] = {}
        self._opened_at = clock()
        self._unseen_until = -math.inf
        """Until then a process that is new here may have sent before, while our connection was broken."""
        self._rounds = 0
        self._held = 0
        self._missing_until = -math.inf
        self._dropped_until = -math.inf
        """The same for what comes behind all that is held back."""

    def opened(self) -> None:
        """From here on this process receives; what others published before is not for it."""
        self._opened_at = self._clock()

    @property
    def recovering(self) -> bool:
        """True while an answer is expected."""
        return any(peer.is_waited_for for peer in self._peers.values())

    def take(self, sender: str, number: int, hole: int | None, items: list[Any]) -> None:
        """Deliver an envelope, or hold it back during a recovery; one seen before is dropped."""
        peer = self._received(sender, number - 1, hole)
        if peer.round and self._held >= MAX_HELD:
            self._dropped_until = self._clock()
        elif peer.round:
            self._held += number not in peer.came  # a bool counts as 1
            peer.came[number] = items
        elif number > peer.cursor:
            peer.cursor = number
            self._deliver(items, self._offset_if_late(peer, items))

    def heartbeat(
        self, sender: str, number: int, hole: int | None, at: float, next: float = SHORTEST_SECONDS
    ) -> None:
        """A process says that it lives, that `number` was its last envelope, and what its clock is.

        Its next heartbeat follows within `next` seconds.
        """
        peer = self._received(sender, number, hole)
        peer.offset.read(at, peer.received_at, peer.next)
        peer.next = next
        if not peer.round:
            peer.cursor = max(number, peer.cursor)

    def goodbye(self, sender: str, number: int, hole: int | None, is_unsent: bool = False) -> None:
        """A process ends in order after envelope `number`: what it has not answered by now is missing.

        So is, where nothing ever came from it, what it could not send at its end (`is_unsent`).
        """
        peer = self._peers.pop(sender, None)
        if peer is None:
            if is_unsent:
                self._miss(self._clock())
            return
        if (hole or 0) > peer.cursor or (peer.round and number > peer.cursor):
            self._miss(peer.since if peer.round else self._clock())
        self._end(peer, number)

    def request_replay(self) -> None:
        """Ask every process for the envelopes that our broken connection to the layer may have lost."""
        now = self._clock()
        patience = max((peer.next for peer in self._peers.values()), default=SHORTEST_SECONDS)
        self._unseen_until = now + patience + PEER_SECONDS
        last = max((peer.received_at for peer in self._peers.values()), default=0.0)
        for peer in self._peers.values():
            # Compared with the last envelope of any process, not with the clock: the layer may have been down
            # for long, and then all of them are silent, though none has gone.
            is_silent = last - peer.received_at >= peer.next + PEER_SECONDS
            if peer.hole is not None:
                self._wait_for(peer, math.inf if is_silent else now + RECOVERY_SECONDS)
            elif not is_silent:
                self._miss(now)  # it may have sent something, and cannot be asked
        self._tell_missing()  # such a process is not held back
        self._ask()

    def wanted(self, senders: Iterable[str] | None = None) -> dict[str, tuple[int, float, int]]:
        """Questions to send, to all processes or some: for each a number, the seconds to look back, and the
        round.
        """
        now = self._clock()
        seconds = now - self._opened_at + RECOVERY_SECONDS
        return {
            sender: (peer.cursor, seconds, peer.round)
            for sender in (self._peers if senders is None else senders)
            if (peer := self._peers.get(sender)) is not None
            and peer.round
            and now - peer.part_at > PART_SECONDS
        }

    def replay(
        self, sender: str, round: int, entries: Iterable[Entry], number: int, lost_at: float | None, at: float
    ) -> None:
        """Take the last part of an answer, which covers everything up to `number`.

        `lost_at` is when the last envelope that the sender's log had no more was published, None if there is
        none. `lost_at` and `at` are times of the sender's clock.
        """
        if (peer := self._part(sender, round, entries)) is None:
            return
        peer.offset.read(at, peer.received_at, peer.next)
        if lost_at is not None:
            self._miss(lost_at + (peer.offset.seconds or 0.0))
        self._end(peer, number)

    def part(self, sender: str, round: int, entries: Iterable[Entry]) -> None:
        """Take a part of an answer that is not the last."""
        self._part(sender, round, entries)

    def settle(self) -> float | None:
        """End waits that took too long. The time (of our clock) before which lost messages were published is
        returned once no wait is left, else None; None also when nothing was lost, and when it has been told.
        """
        now = self._clock()
        late = [peer for peer in self._peers.values() if peer.is_waited_for and peer.deadline <= now]
        for peer in late:
            self._miss(peer.since)
        for peer in late:
            self._end(peer, peer.hole or 0)
        until = max(self._missing_until, self._dropped_until)
        if self.recovering or until == -math.inf:
            return None
        self._missing_until = self._dropped_until = -math.inf
        return until

    def postpone(self, seconds: float) -> None:
        """No process is late for the time in which this one could not receive."""
        for peer in self._peers.values():
            peer.deadline += seconds

    # --- one sender --------------------------------------------------------------------------------------

    def _received(self, sender: str, number: int, hole: int | None) -> PeerRecord:
        """Note that a process has sent envelopes up to `number`, and ask for those that are missing."""
        now = self._clock()
        peer = self._peers.get(sender)
        is_missing = False
        if peer is None:
            if len(self._peers) >= KNOWN_SENDERS:
                silent = min(self._peers, key=lambda name: self._peers[name].received_at)
                self.goodbye(silent, self._peers[silent].cursor, None)
            peer = self._peers[sender] = PeerRecord(0)
            # Soon after a break a new process may have published in it, unseen. At any other time its earlier
            # envelopes were for others, or from before our subscriptions, unless it names a hole itself.
            is_missing = number > 0 and hole is not None and now < self._unseen_until
            if not is_missing and not hole:
                peer.cursor = number
        peer.received_at, peer.hole = now, hole
        if peer.round:
            if peer.deadline == math.inf:  # it was silent when it was asked, and can answer now
                peer.deadline = now + RECOVERY_SECONDS
                self._ask()
        elif is_missing or (hole is not None and hole > peer.cursor):
            self._wait_for(peer, now + RECOVERY_SECONDS)
            self._ask()
        return peer

    def _wait_for(self, peer: PeerRecord, deadline: float) -> None:
        self._rounds += 1
        peer.wait(self._rounds, self._clock(), deadline)

    def _part(self, sender: str, round: int, entries: Iterable[Entry]) -> PeerRecord | None:
        peer = self._peers.get(sender)
        # Our connection may have broken again since the question of an older round. Its answer does not cover
        # the second break, and this round has a question of its own.
        if peer is None or not peer.round or round != peer.round:
            return None
        peer.received_at = peer.part_at = self._clock()
        peer.deadline = peer.received_at + RECOVERY_SECONDS
        for number, items in entries:
            self._held += number not in peer.came
            peer.came[number] = items
        return peer

    def _end(self, peer: PeerRecord, number: int) -> None:
        """Deliver the envelopes that were held back or sent again, in order, and go on after `number`."""
        came, peer.came, peer.round = peer.came, {}, 0
        self._held -= len(came)
        if came:
            self._tell_missing()
        # An envelope may have come live and again: a dict by number holds it once. The cursor moves on before
        # each delivery, so that an error in one cannot have it delivered a second time.
        for one in sorted(came):
            if one > peer.cursor:
                peer.cursor = one
                self._deliver(came[one], peer.offset.seconds)
        peer.cursor = max(number, peer.cursor)

    def _miss(self, until: float) -> None:
        self._missing_until = max(until, self._missing_until)

    def _tell_missing(self) -> None:
        until, self._missing_until = self._missing_until, -math.inf
        if until > -math.inf:
            self._tell(until)

    def _offset_if_late(self, peer: PeerRecord, items: list[Any]) -> float | None:
        """The offset of the sender's clock for late items, None for fresh ones.

        Most envelopes are fresh, so the first item, the oldest of its envelope, decides for all.
        """
        seconds = peer.offset.seconds
        if seconds is None or not items:
            return None
        first = items[0]
        # An armoured item is a string, of which the time is not known before it is decoded.
        if isinstance(first, list) and isinstance(first[-1], float):
            took = peer.received_at - first[-1]
            metrics.RELAY.observe(max(took if abs(seconds) < SAME_HOST_SECONDS else took - seconds, 0.0))
            return None if took - seconds < LATE_SECONDS else seconds
        return seconds
