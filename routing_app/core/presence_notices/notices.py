"""Presence notices of one worker: what its own subscribers are told, and what it reports to other workers.

A worker that has a subscriber who watches asks all others, which report to it from then on; nobody else is
told anything. So a subscription costs nothing while nobody watches anywhere.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final

from routing_app.core.access.masking import SecretAccess
from routing_app.core.cluster.batching import EVERYBODY
from routing_app.core.cluster.spread import AnyRelay
from routing_app.core.database import query
from routing_app.core.delivery.connection import Connection
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.publication import Publication
from routing_app.core.models import WorkerRecord
from routing_app.core.presence_notices.changes import Change, member_of
from routing_app.core.presence_notices.messages import (
    ADDRESSES,
    ANSWER,
    ANY,
    NONE,
    REPORT,
    UNWATCH,
    WATCH,
)
from routing_app.core.presence_notices.reporter import GATHER_SECONDS, Later, Reporter, Timer
from routing_app.core.presence_notices.topic import Topic, Watcher
from routing_app.core.streams.ordering import Spawn
from routing_app.core.streams.rules import RuleTable

logger = logging.getLogger(__name__)

NOTICE_SECONDS: Final = 0.2
"""Longest time for which changes are gathered, from the first one on."""
ANSWER_SECONDS: Final = 1.0
"""Longest wait of a new watcher for the other workers."""
LOOK_SECONDS: Final = 1.0
"""Between two looks for rules that have changed and workers that have ended."""
SYNC_LOOKS: Final = 15
"""Every so many looks the versions that are known are compared with those of the other workers."""


@dataclass(eq=False, slots=True)
class _Question:
    """A WATCH for new watchers, and the workers whose answers they wait for."""

    waits_for: set[str]
    answered: asyncio.Future[None]

    def settle(self, *workers: str) -> None:
        self.waits_for.difference_update(workers)
        if not self.waits_for and not self.answered.done():
            self.answered.set_result(None)


class PresenceNotices:
    """Those of one worker. `rules` gives the rules of addresses as they are known now."""

    def __init__(
        self,
        worker_id: str,
        hub: Hub,
        relay: AnyRelay,
        rules: Callable[[], RuleTable],
        spawn: Spawn,
        later: Later,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._worker_id = worker_id
        self._hub = hub
        self._relay = relay
        self._rules = rules
        self._spawn = spawn
        self._later = later
        self._clock = clock
        self._reporter = Reporter(worker_id, hub, self._tell, later)
        self._topics: dict[str, Topic] = {}
        self._timers: dict[str, tuple[float, Timer]] = {}
        self._numbers = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._mute: set[str] = set()
        """Workers that have left a question without an answer: nobody waits for them until they give one."""
        self._looking: asyncio.Task[None] | None = None
        self._lost = False
        """True when reports may be lost: the next look compares versions."""
        hub.on(WATCH, self._watched)
        hub.on(ANSWER, self._answered)
        hub.on(REPORT, self._reported)
        hub.on(UNWATCH, self._unwatched)
        hub.on_gap.append(self._missed)
        relay.peers.on_receiver.append(self._came)
        relay.peers.on_left.append(self._gone)

    # --- for protocols ------------------------------------------------------------------------------------

    def allowed(self, address: str) -> bool:
        """True when the rule of an address has notices."""
        return self._rules().of(address).notices

    async def watch(
        self, connection: Connection, addresses: Iterable[str], access: Callable[[], SecretAccess]
    ) -> Callable[[], None]:
        """Tell a connection from now on who else subscribes to addresses, and who leaves them.

        It is subscribed to them. Who is there already is never told; call what is returned to have the
        notices begin. They end with the subscription. `access` gives the secrets that the connection sees
        whole, at any moment.
        """
        watchers = {
            address: self._topic(address).add(connection, access)
            for address in addresses
            if address in connection.addresses and not self._watches(connection, address)
        }
        if not watchers:
            return lambda: None
        self._activate()
        try:
            if self._relay.reaches_others:
                await self._ask_all(watchers)
        except BaseException:
            self._begin(watchers)
            raise
        return partial(self._begin, watchers)

    # --- for the hub --------------------------------------------------------------------------------------

    def joined(self, connection: Connection, address: str) -> None:
        """A connection of this worker has subscribed to an address."""
        self._note(address, Change(connection, has_come=True))

    def left(self, connection: Connection, address: str) -> None:
        """A connection of this worker is not subscribed to an address any more."""
        if (topic := self._topics.get(address)) is not None:
            topic.remove(connection)
            if not topic.watchers:
                self._forget(topic)
        self._note(address, Change(member_of(connection)))

    # --- for the worker -----------------------------------------------------------------------------------

    def lapsed(self) -> None:
        """This worker's lease had lapsed: others may have forgotten what it watches."""
        self._ask(None, dict.fromkeys(self._topics, ANY))

    def stop(self) -> None:
        """Report what waits to be reported, and nothing more: what is left here goes with the worker."""
        self._reporter.stop()
        self._topics.clear()
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._activate()

    # --- subscribers of this worker -----------------------------------------------------------------------

    def _topic(self, address: str) -> Topic:
        return self._topics.setdefault(address, Topic(address))

    def _watches(self, connection: Connection, address: str) -> bool:
        return address in self._topics and connection in self._topics[address].watchers

    def _begin(self, watchers: dict[str, Watcher]) -> None:
        for address, watcher in watchers.items():
            watcher.held = False
            if watcher.changes:
                self._tell_within(NOTICE_SECONDS, address)

    def _note(self, address: str, change: Change) -> None:
        if (topic := self._topics.get(address)) is not None:
            topic.note(change)
            self._tell_within(NOTICE_SECONDS, address)
        self._reporter.note(address, change)

    def _tell_within(self, seconds: float, address: str) -> None:
        """Have those who watch told within so many seconds."""
        due = self._clock() + seconds
        if (waiting := self._timers.get(address)) is not None:
            if waiting[0] <= due:
                return
            waiting[1].cancel()
        self._timers[address] = due, self._later(seconds, partial(self._notify, address))

    def _notify(self, address: str) -> None:
        self._timers.pop(address, None)
        if (topic := self._topics.get(address)) is not None:
            topic.tell(self._hub.count(address))

    def _forget(self, topic: Topic) -> None:
        """Nobody here watches an address any more."""
        del self._topics[topic.address]
        if (waiting := self._timers.pop(topic.address, None)) is not None:
            waiting[1].cancel()
        self._tell(None, UNWATCH, [self._worker_id, next(self._numbers), [topic.address]])
        self._activate()

    def _activate(self) -> None:
        """Have the hub tell of subscriptions as long as somebody watches anywhere."""
        if not self._topics and not self._reporter:
            self._hub.notices = None
        elif self._hub.notices is None:
            self._hub.notices = self
            if self._looking is None or self._looking.done():
                self._looking = self._spawn(self._look())

    # --- questions to other workers -----------------------------------------------------------------------

    async def _ask_all(self, watchers: dict[str, Watcher]) -> None:
        """Ask all workers, and wait until those that can be expected to have answered."""
        expected = self._relay.peers.receivers()
        asked = []
        for some in _chunks(watchers):
            number = next(self._numbers)
            for address in some:
                watchers[address].pending, watchers[address].number = set(expected), number
            question = _Question(expected - self._mute, asyncio.get_running_loop().create_future())
            question.settle()
            self._questions[number] = question
            asked.append(question)
            # Where others watch here already, the workers that are known have only to say when it was.
            wanted = {one: ANY if len(self._topics[one].watchers) > 1 else NONE for one in some}
            self._tell(None, WATCH, [self._worker_id, number, wanted])
        try:
            await asyncio.wait([question.answered for question in asked], timeout=ANSWER_SECONDS)
        finally:
            for question in asked:
                self._mute |= question.waits_for
                self._lost |= bool(question.waits_for)
            self._questions = {n: one for n, one in self._questions.items() if one not in asked}

    def _ask(self, worker: str | None, wanted: dict[str, int]) -> None:
        """Ask a worker, or all of them, about addresses of which such versions are known."""
        for some in _chunks(wanted):
            self._tell(
                worker, WATCH, [self._worker_id, next(self._numbers), {one: wanted[one] for one in some}]
            )

    def _answered(self, publication: Publication) -> int:
        worker, number, states = publication.message
        self._mute.discard(worker)
        unwanted, unclear = [], {}
        for address, state in states.items():
            if (topic := self._topics.get(address)) is None:
                unwanted.append(address)
            elif not topic.answered(worker, number, *state):
                unclear[address] = NONE
            else:
                self._news(topic)
        self._reply(worker, unwanted, unclear)
        if not unclear:
            for asked, question in self._questions.items():
                if asked <= number:
                    question.settle(worker)
        return 1

    def _reported(self, publication: Publication) -> int:
        worker, steps = publication.message
        unwanted, unclear = [], {}
        for address, step in steps.items():
            if (topic := self._topics.get(address)) is None:
                unwanted.append(address)
                continue
            if not topic.reported(worker, *step):
                unclear[address] = NONE
            self._news(topic)
        self._reply(worker, unwanted, unclear)
        return 1

    def _reply(self, worker: str, unwanted: list[str], unclear: dict[str, int]) -> None:
        if unwanted:
            self._tell(worker, UNWATCH, [self._worker_id, next(self._numbers), unwanted])
        self._ask(worker, unclear)

    def _news(self, topic: Topic) -> None:
        if topic.has_news:
            self._tell_within(NOTICE_SECONDS - GATHER_SECONDS, topic.address)

    # --- questions of other workers -----------------------------------------------------------------------

    def _watched(self, publication: Publication) -> int:
        self._reporter.watched(*publication.message)
        self._activate()
        return 1

    def _unwatched(self, publication: Publication) -> int:
        self._reporter.unwatched(*publication.message)
        self._activate()
        return 1

    # --- other workers ------------------------------------------------------------------------------------

    def _came(self, worker: str) -> None:
        """Another worker is new here, or back after it was taken for dead."""
        self._ask(worker, dict.fromkeys(self._topics, NONE))

    def _gone(self, worker: str) -> None:
        """Another worker has ended."""
        self._mute.discard(worker)
        self._reporter.gone(worker)
        for question in self._questions.values():
            question.settle(worker)
        for topic in self._topics.values():
            if topic.gone(worker):
                self._news(topic)
        self._activate()

    def _missed(self) -> None:
        self._lost = True

    def _tell(self, worker: str | None, event: str, message: list[Any]) -> None:
        """Send a message to a worker, or to all of them."""
        if not self._relay.reaches_others:
            return
        address = EVERYBODY if worker is None else f"worker:{worker}"
        server = self._relay.pick("*" if worker is None else worker)
        self._hub.hand_over(Publication((address,), message, event, server=server))

    # --- looks --------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Look after what no message tells, as long as somebody watches anywhere."""
        for number in itertools.count(1):
            await asyncio.sleep(LOOK_SECONDS)
            if self._hub.notices is None:
                return
            try:
                await self.look(compare=number % SYNC_LOOKS == 0)
            except Exception:
                logger.exception("presence notices: a look failed and is repeated")

    async def look(self, compare: bool = False) -> None:
        """End notices that no rule allows any more, and tell of workers whose lease has lapsed."""
        for address, topic in list(self._topics.items()):
            if not self.allowed(address):
                topic.watchers.clear()
                self._forget(topic)
        if compare or self._lost:
            self._lost = False
            self._compare()
        peers = self._relay.peers
        others = self._reporter.askers().union(
            self._mute, *(topic.workers() for topic in self._topics.values())
        )
        silent = [worker for worker in others if peers.is_gone(worker, 0.0)]
        if silent:
            for worker in set(silent) - await query(_alive, silent):
                peers.forget(worker)  # so that a sign of life counts as that of a new one
                self._gone(worker)

    def _compare(self) -> None:
        """Ask each worker about the addresses where its state is another than the one that is known."""
        known: dict[str, dict[str, int]] = {}
        workers = self._relay.peers.receivers()
        for address, topic in self._topics.items():
            for worker in workers.union(topic.workers()):
                known.setdefault(worker, {})[address] = topic.version(worker) or NONE
        for worker, versions in known.items():
            self._ask(worker, versions)


def _chunks(addresses: Collection[str]) -> list[Sequence[str]]:
    listed = list(addresses)
    return [listed[start : start + ADDRESSES] for start in range(0, len(listed), ADDRESSES)]


def _alive(workers: list[str]) -> set[str]:
    return set(WorkerRecord.objects.alive().filter(pk__in=workers).values_list("pk", flat=True))
