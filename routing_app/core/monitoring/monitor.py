"""The part of a worker that others may look at: samples, events, connections, addresses, settings."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from routing_app import __version__
from routing_app.core.address import make
from routing_app.core.changes import changes
from routing_app.core.cluster.calls import Incoming
from routing_app.core.monitoring import addresses, connections, options, sampler, workers
from routing_app.core.monitoring.addresses import AddressQuery
from routing_app.core.monitoring.closes import Closes
from routing_app.core.monitoring.cluster import Cluster
from routing_app.core.monitoring.connections import Query, detail_of, row_of
from routing_app.core.monitoring.events import Events
from routing_app.core.monitoring.history import History
from routing_app.core.monitoring.overview import Overview
from routing_app.core.monitoring.rates import AddressRates
from routing_app.core.monitoring.sampler import Sampler
from routing_app.core.monitoring.workers import Watch
from routing_app.core.readings import Readings

if TYPE_CHECKING:
    from routing_app.core.worker import Worker

logger = logging.getLogger(__name__)

DRAIN: Final = "monitoring.drain"
DRAINING: Final = "draining"
ANSWER_LEAVES_SECONDS: Final = 0.05
WATCHED_SECONDS: Final = 15.0
"""Publications are counted by address for so long after the last question about addresses."""
PART: Final = 1_000
"""Rows in one part of an answer."""

Verb = Callable[[Any], Coroutine[Any, Any, Any]]


class Monitor:
    """What one worker keeps about itself, and the verbs `monitoring.*` that tell others of it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._readings = readings = Readings(worker.hub, worker.relay)
        self.events = Events()
        self.closes = Closes()
        self.history = History()
        self._sampler = Sampler(readings, worker.relay, self.history, self.events)
        peers = worker.relay.peers
        self._watch = Watch(worker.id, self.events, peers.has_left)
        peers.on_receiver.append(self._watch.came)
        peers.on_left.append(self._watch.left)
        self._watch.on_died.append(worker.hub.tell_of_death)
        self._started_at = time.time()
        self._rates_until = 0.0
        self.stop_server: Callable[[], None] | None = None
        """Has the server drain and end; None where it knows signals only."""
        self._stopping = False
        self.cluster = Cluster(worker)
        """The workers of all processes, as this one asks them."""
        self.overview = Overview(worker, self.cluster)
        self._verbs: dict[str, Verb] = {
            "monitoring.now": self._now,
            "monitoring.past": self._past,
            "monitoring.connections": self._connections,
            "monitoring.connection": self._connection,
            "monitoring.closes": self._closes,
            "monitoring.addresses": self._addresses,
            "monitoring.numbers": self._numbers,
            "monitoring.settings": self._settings,
            "monitoring.changes": self._changes,
            DRAIN: self._drain,
        }
        for name, verb in self._verbs.items():
            worker.calls.serve(name, _serve(verb), stops=name != DRAIN)
        worker.on_drain.append(lambda close: self.events.note("worker_drained", "it drains", about=worker.id))
        worker.hub.on_gap.append(lambda: self.events.note("gap", "messages of other workers may be missing"))

    async def here(self, verb: str, payload: Any) -> Any:
        """The answer of this worker to a verb."""
        return await self._verbs[verb](payload)

    def start(self) -> None:
        """Begin to read and to watch, until the worker stops."""
        for coroutine in (
            self._readings.time_loop(),
            self._readings.read_all(),
            self.keep_sampling(),
            self.keep_watching(),
        ):
            self._worker.spawn(coroutine)

    async def keep_sampling(self) -> None:
        """Take a sample as each second ends, without end."""
        self.events.note("worker_joined", "it serves", about=self._worker.id)
        while True:
            now = time.time()
            await asyncio.sleep(1.0 - now % 1.0)
            try:
                self._sampler.sample()
                self._end_rates()
            except Exception:
                logger.exception("monitoring: a sample could not be taken")

    async def keep_watching(self) -> None:
        """Look every few seconds which workers there are, without end."""
        while True:
            await self._watch.look()
            await asyncio.sleep(workers.LOOK_SECONDS)

    def webhook_off(self, id: int) -> None:
        """A webhook was switched off."""
        self.events.note("webhook_off", f"webhook {id} was switched off: its receiver fails")

    # --- verbs ----------------------------------------------------------------------------------------------

    async def _now(self, payload: Any) -> dict[str, Any]:
        """`{"since": number of an event}` -> what is true now, and the last second that is over."""
        worker, readings = self._worker, self._readings
        totals = sampler.totals()
        second = self.history.last
        return {
            "worker": {
                "id": worker.id,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "version": __version__,
                "started_at": self._started_at,
                "state": DRAINING if worker.draining or self._stopping else "serving",
                "connections": sampler.connections(),
                "memory": self._sampler.now.get("memory", 0),
                "cpu": self._sampler.now.get("cpu", 0.0),
                "lag": self._sampler.now.get("lag", 0.0),
                "received": totals["received"],
                "delivered": totals["delivered"],
                "published": totals["published"],
                "outbox_bytes": readings.outbox_bytes,
            },
            "totals": totals,
            "second": second,
            "values": self.history.at(second),
            "notable": [
                event.shown(worker.id) for event in self.events.since((payload or {}).get("since", 0))
            ],
            "redis": self._sampler.redis(),
            "pool": dict(readings.pool) or None,
        }

    async def _past(self, payload: Any) -> dict[str, Any]:
        """The history of this worker, packed."""
        return self.history.packed()

    async def _connections(self, payload: Any) -> dict[str, Any]:
        """`{"query": …, "depth": n}` -> `{"counts": {protocol: n}, "rows": [[value, id, *FIELDS]]}`."""
        query = Query(**{**payload["query"], "masked": tuple(payload["query"].get("masked", ()))})
        hub, id = self._worker.hub, self._worker.id
        subscribed = hub.members(query.address) if query.address else None
        counts, rows = await connections.select(hub.connections(), subscribed, query, payload["depth"])
        shown: list[list[Any]] = []
        for start in range(0, len(rows), PART):
            shown += [[*key, *row_of(one, id)] for key, one in rows[start : start + PART]]
            await asyncio.sleep(0)
        return {"counts": counts, "rows": shown}

    async def _connection(self, payload: Any) -> dict[str, Any] | None:
        """`{"id"}` -> one connection of this worker; None when it has ended."""
        worker = self._worker
        found = worker.hub.members(make("connection", payload["id"]))
        if not found:
            return None
        # What is its own stands before the network that it shares.
        names = [*worker.revocations.carried_by(found[0])][::-1]
        revocable = [{"kind": str(one.kind), "value": one.value} for one in names]
        return detail_of(found[0], worker.id) | {"revocable": revocable}

    async def _closes(self, payload: Any) -> list[dict[str, Any]]:
        """`{"host"}` -> the last ends of connections in its network."""
        return self.closes.of(payload["host"])

    async def _addresses(self, payload: Any) -> dict[str, Any]:
        """`{"query": …, "depth": n}` -> see `addresses.select`."""
        query = AddressQuery(**{**payload["query"], "masked": tuple(payload["query"].get("masked", ()))})
        return await addresses.select(self._worker.hub, self._rates(), query, payload["depth"])

    async def _numbers(self, payload: Any) -> list[Any]:
        """`{"addresses": […]}` -> the numbers of each."""
        return addresses.numbers_of(self._worker.hub, self._rates(), payload["addresses"])

    async def _settings(self, payload: Any) -> dict[str, str]:
        """Every setting with what it is compared by."""
        return options.compared()

    async def _changes(self, payload: Any) -> int:
        """`{"kind"}` -> how often rows of this kind have changed here."""
        return changes.of(payload["kind"])

    async def _drain(self, payload: Any) -> str:
        """Close all clients and end the process, as at SIGTERM; a second time changes nothing."""
        if not self._stopping:
            self._stopping = True
            logger.warning("an operator drains this worker")
            # Later, so that the answer leaves first.
            asyncio.get_running_loop().call_later(ANSWER_LEAVES_SECONDS, self._end_process)
        return DRAINING

    def _end_process(self) -> None:
        if self.stop_server is not None:
            self.stop_server()
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    # --- rates of addresses ---------------------------------------------------------------------------------

    def _rates(self) -> AddressRates:
        """The counts by address, from now on at the latest."""
        self._rates_until = time.monotonic() + WATCHED_SECONDS
        if self._worker.hub.rates is None:
            self._worker.hub.rates = AddressRates()
        return self._worker.hub.rates

    def _end_rates(self) -> None:
        if self._worker.hub.rates is not None and time.monotonic() > self._rates_until:
            self._worker.hub.rates = None


def _serve(verb: Verb) -> Callable[[Incoming], Coroutine[Any, Any, Any]]:
    async def serve(call: Incoming) -> Any:
        return await verb(call.payload)

    return serve
