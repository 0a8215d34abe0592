"""Who is connected, in every process: leases, never "disconnect ran".

Each worker renews one row every 5 s; its connections count while that lease holds. Rows of connections are
a copy of what the process knows: if the database was out, or swept the worker, the copy is made anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from django.db.models.functions import Now
from django.utils import timezone

from routing_app.core.address import MAX_LENGTH
from routing_app.core.connection import Connection
from routing_app.core.database import GroupedWrites, Overloaded, query, query_apart
from routing_app.core.models import LEASE_SECONDS, ConnectionRecord, Subscription, Worker

logger = logging.getLogger(__name__)

RENEW_SECONDS: Final = 5.0
SWEEP_AFTER_SECONDS: Final = 4 * LEASE_SECONDS
CHUNK: Final = 500
"""Rows in one statement."""

Arrival = tuple[ConnectionRecord, list[Subscription]]
Change = tuple[str, str, tuple[str, ...]]
"""A connection's id, its identity and its addresses as they are now."""


class Presence:
    """Records the connections of one worker and keeps its lease."""

    def __init__(self, worker_id: str, writes: GroupedWrites) -> None:
        self._worker_id = worker_id
        self._writes = writes
        self._here: dict[str, tuple[ConnectionRecord, Connection]] = {}
        self._stale = False
        self._sweeping: asyncio.Task[None] | None = None
        self.on_copy: list[Callable[[], asyncio.Future[None]]] = []
        """Called when connections are copied anew: writes rows of a line that hang on theirs and went."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Register the worker and begin to renew, without waiting: a database that is out holds up no socket.

        Rows of connections follow the worker's row, since writes keep their order; if that row could not be
        made, the next renewal makes it and copies everything.
        """
        if self._task is None:
            self._submit(_register, self._worker_id)
            self._task = asyncio.ensure_future(self._keep_lease())

    async def stop(self) -> None:
        """End the lease at once: everything of this worker is gone from every listing."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, *filter(None, [self._sweeping]), return_exceptions=True)
        self._task = None
        with suppress(Exception):
            await self._writes.submit(lambda: forget_workers([self._worker_id]))

    def arrive(self, connection: Connection) -> asyncio.Future[None]:
        """Record a connection and what it hears; the future resolves after the commit.

        Called again it writes what could not be written, or was lost.
        """
        known = self._here.get(connection.id)
        record = (
            known[0]
            if known is not None
            else ConnectionRecord(
                id=connection.id,
                worker_id=self._worker_id,
                line=connection.line,
                peer=str(connection.peer)[:64],
                connected_at=timezone.now(),
            )
        )
        self._here[connection.id] = (record, connection)
        return self._submit(_insert, _arrival(record, connection))

    def change(self, connection: Connection) -> asyncio.Future[None]:
        """Record that a connection's identity or addresses are others now."""
        change = connection.id, _storable(connection.identity, 255), _heard(connection)
        return self._submit(_rewrite, change)

    def leave(self, connection: Connection) -> None:
        """Remove a connection's record; safe to call twice."""
        if self._here.pop(connection.id, None) is not None:
            self._submit(_delete, connection.id)

    async def renew(self) -> None:
        """Renew the lease, whatever else waits; make the copy anew where it may be wrong. Never raises."""
        try:
            known = await query_apart(_renew, self._worker_id)
        except Exception as error:
            logger.warning("presence: the lease could not be renewed: %s", error)
            return
        if not known or self._stale:
            self._stale = False
            self._copy_all()
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.ensure_future(_sweep_beside())

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self.renew()

    def _submit(self, write_many: Callable[[list[Any]], None], item: Any) -> asyncio.Future[None]:
        return self._checked(lambda: self._writes.submit_item(write_many, item))

    def _copy_all(self) -> None:
        here = [_arrival(record, connection) for record, connection in self._here.values()]
        self._checked(lambda: self._writes.submit(lambda: _reconcile(self._worker_id, here)))
        for hook in self.on_copy:
            self._checked(hook)

    def _checked(self, submit: Callable[[], asyncio.Future[None]]) -> asyncio.Future[None]:
        """Submit a write without which the copy is wrong."""
        try:
            future = submit()
        except Overloaded as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        future.add_done_callback(self._check)
        return future

    def _check(self, future: asyncio.Future[None]) -> None:
        if not future.cancelled() and future.exception() is not None:
            self._stale = True


def _arrival(record: ConnectionRecord, connection: Connection) -> Arrival:
    record.identity = _storable(connection.identity, 255)
    return record, [Subscription(connection_id=record.id, address=a) for a in _heard(connection)]


def _heard(connection: Connection) -> tuple[str, ...]:
    return tuple(_storable(address, MAX_LENGTH) for address in connection.addresses)


def _storable(text: str, size: int) -> str:
    """A client's text as every database takes it: one that none takes would spoil the copy of all others."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")[:size]


def _insert(arrivals: list[Arrival]) -> None:
    ConnectionRecord.objects.bulk_create([record for record, _ in arrivals], CHUNK, ignore_conflicts=True)
    subscriptions = [subscription for _, mine in arrivals for subscription in mine]
    Subscription.objects.bulk_create(subscriptions, CHUNK, ignore_conflicts=True)


def _delete(ids: list[str]) -> None:
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        ConnectionRecord.objects.filter(id__in=chunk).delete()


def _rewrite(changes: list[Change]) -> None:
    """Bring rows up to date, the last change of each connection; one without a row is left alone."""
    latest = {id: (identity, addresses) for id, identity, addresses in changes}
    ids = list(latest)
    for start in range(0, len(ids), CHUNK):
        _rewrite_chunk({id: latest[id] for id in ids[start : start + CHUNK]})


def _rewrite_chunk(wanted: dict[str, tuple[str, tuple[str, ...]]]) -> None:
    records = ConnectionRecord.objects.in_bulk(list(wanted))
    renamed = [record for id, record in records.items() if record.identity != wanted[id][0]]
    for record in renamed:
        record.identity = wanted[record.id][0]
    ConnectionRecord.objects.bulk_update(renamed, ["identity"])
    stored = {
        (row.connection_id, row.address): row.pk
        for row in Subscription.objects.filter(connection_id__in=list(records))
    }
    pairs = {(id, address) for id in records for address in wanted[id][1]}
    Subscription.objects.filter(pk__in=[pk for pair, pk in stored.items() if pair not in pairs]).delete()
    new = [Subscription(connection_id=id, address=address) for id, address in pairs - stored.keys()]
    Subscription.objects.bulk_create(new, CHUNK, ignore_conflicts=True)


def _register(worker_ids: list[str]) -> None:
    rows = [Worker(id=id, host=socket.gethostname()[:255], pid=os.getpid()) for id in worker_ids]
    Worker.objects.bulk_create(rows, ignore_conflicts=True)


def _renew(worker_id: str) -> bool:
    """Renew the worker's row, or make it; False when it had to be made."""
    if Worker.objects.filter(id=worker_id).update(renewed_at=Now()):
        return True
    _register([worker_id])
    return False


def _reconcile(worker_id: str, here: list[Arrival]) -> None:
    """Make rows equal to what is here. Those that are right are only read: rows of lines hang on them."""
    known = set(ConnectionRecord.objects.filter(worker_id=worker_id).values_list("id", flat=True))
    _delete(list(known - {record.id for record, _ in here}))
    _insert([arrival for arrival in here if arrival[0].id not in known])
    _rewrite(
        [
            (record.id, record.identity, tuple(subscription.address for subscription in mine))
            for record, mine in here
            if record.id in known
        ]
    )


async def _sweep_beside() -> None:
    """Not with the grouped writes: tens of thousands of rows would hold up everybody's."""
    try:
        await query(sweep)
    except Exception as error:
        logger.warning("presence: cannot sweep: %s", error)


def sweep() -> int:
    """Delete workers that have been gone for long, and all that belongs to them; how many there were."""
    return forget_workers(list(Worker.objects.dead_for(SWEEP_AFTER_SECONDS).values_list("id", flat=True)))


def forget_workers(ids: Iterable[str]) -> int:
    """Delete workers and all that belongs to them."""
    ids = list(ids)
    if ids:
        Worker.objects.filter(id__in=ids).delete()
    return len(ids)
