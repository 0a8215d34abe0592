"""Presence of connections in every process: leases, never "disconnect ran".

Each worker renews one row every 5 s; its connections count while that lease holds. A worker that cannot renew
asks the witness every second whether anybody else can (`lease.py`). Rows of connections are
a copy of what the process knows: if the database was out, or swept the worker, the copy is made again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Case, F, Value, When
from django.db.models.functions import Now
from django.utils import timezone

from routing_app.core.address import MAX_LENGTH
from routing_app.core.database import GroupedWrites, Overloaded, query, query_apart
from routing_app.core.delivery.connection import Connection
from routing_app.core.ending import end_tasks
from routing_app.core.leases import rows
from routing_app.core.leases.lease import Lease
from routing_app.core.leases.reach import Times, advance, read
from routing_app.core.leases.rows import IDENTITY_LENGTH, UNKNOWN_CODE, Arrival, Departure, storable
from routing_app.core.leases.witness import Witness, witness_of
from routing_app.core.models import LEASE_SECONDS, WorkerRecord
from routing_app.core.protocol import registered

logger = logging.getLogger(__name__)

RENEW_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 1.0
"""Between two attempts, once one has failed."""
LOOK_SECONDS: Final = 1.0
"""Between two looks at the witness, while a renewal is overdue."""


def kept_seconds() -> float:
    """Seconds for which the row of a worker that is gone stays after its last renewal."""
    return 4 * LEASE_SECONDS + max((protocol.keep_rows_seconds for protocol in registered()), default=0.0)


class Presence:
    """Records the connections of one worker and keeps its lease."""

    def __init__(self, worker_id: str, writes: GroupedWrites) -> None:
        self._worker_id = worker_id
        self._writes = writes
        self.lease = Lease()
        self.on_lapse: list[Callable[[timedelta], None]] = []
        """Called after a renewal that came when the lease was over, with the time since the last."""
        self._witness: Witness = witness_of(settings.REDIS_URL)
        self._mark = ""
        self._renewing: asyncio.Task[bool] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._here: dict[str, Connection] = {}
        """Recorded connections by id."""
        self._stale = False
        self._sweeping: asyncio.Task[None] | None = None
        self.on_record: list[Callable[[Connection], None]] = []
        """Called with a connection that is recorded, as it is now."""
        self.on_copy: list[Callable[[], asyncio.Future[None]]] = []
        """Called when connections are copied again: writes rows of a protocol that went with theirs."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Register the worker and begin to renew, without waiting: a database that is out holds up no socket.

        Rows of connections follow the worker's row, since writes keep their order; if that row could not be
        made, the next renewal makes it and copies everything.
        """
        if self._task is None:
            began = self.lease.clock()
            registered = self._submit(_enter, self._worker_id)
            self._task = asyncio.ensure_future(self._keep_lease(began, registered))
            self._looking = asyncio.ensure_future(self._watch_lease())

    async def stop(self) -> None:
        """End the lease at once: everything of this worker is gone from every listing."""
        if self._task is None:
            return
        await end_tasks(task for task in (self._task, self._looking, self._renewing) if task is not None)
        await asyncio.gather(*filter(None, [self._sweeping]), return_exceptions=True)
        self._task = None
        await self._witness.close()
        with suppress(Exception):
            # A renewal that is under way would make the row again: its thread takes one after the other.
            await query_apart(lambda: None)
            mine = WorkerRecord.objects.filter(pk=self._worker_id)
            await self._writes.submit(lambda: rows.forget_workers(mine))

    def arrive(self, connection: Connection) -> asyncio.Future[None]:
        """Record a connection and its subscriptions; the future resolves after the commit.

        Called again it writes what could not be written, or was lost.
        """
        self.tell(connection)
        self._here[connection.id] = connection
        return self._submit(rows.insert, self._arrival(connection))

    def _arrival(self, connection: Connection) -> Arrival:
        return Arrival(
            connection.id,
            self._worker_id,
            connection.protocol,
            storable(connection.identity, IDENTITY_LENGTH),
            str(connection.peer)[:64],
            datetime.fromtimestamp(connection.since, UTC),
            _addresses(connection),
        )

    def change(self, connection: Connection) -> asyncio.Future[None]:
        """Record that a connection's identity or addresses are others now."""
        self.tell(connection)
        change = connection.id, storable(connection.identity, IDENTITY_LENGTH), _addresses(connection)
        return self._submit(rows.rewrite, change)

    def leave(self, connection: Connection, code: int = UNKNOWN_CODE) -> None:
        """Remove a connection's record, with the code of its close; safe to call twice."""
        if self._here.pop(connection.id, None) is not None:
            self._submit(rows.delete, Departure(connection.id, code, timezone.now()))

    async def renew(self) -> bool:
        """Renew the lease, and copy the connections again where rows may be wrong. Never raises.

        It waits behind no other write. True when it has succeeded. Callers that ask while one is on its way
        share it: a lease is renewed in order.
        """
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.ensure_future(self._renew())
        return await asyncio.shield(self._renewing)

    async def _renew(self) -> bool:
        # The clock is read before the first question: a lease counts from the moment before its renewal
        # began, since nobody knows when in between the database took it.
        began = self.lease.clock()
        try:
            times = await query_apart(read)
            self._mark = times.mark
            witnessed = await self._witness.tell(times.mark)
            known = await query_apart(_renew, self._worker_id, times, witnessed)
        except Exception as error:
            logger.warning("presence: the lease could not be renewed: %s", error)
            return False
        gap = self.lease.renewed(began, times.witnessed)
        if gap >= timedelta(seconds=LEASE_SECONDS):
            self._lapsed(gap)
        # `_stale` is cleared before the copy: a write that fails while it is under way sets it again.
        if not known or self._stale:
            self._stale = False
            self._copy_all()
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.ensure_future(_sweep_beside())
        return True

    def _lapsed(self, gap: timedelta) -> None:
        for hook in self.on_lapse:
            try:
                hook(gap)
            except Exception:
                logger.exception("presence: the lapse of the lease could not be told")

    async def _keep_lease(self, began: float, registered: asyncio.Future[Any]) -> None:
        try:
            # Shielded: a worker that stops must not take the write of its row back, which others wait behind.
            times: Times = await asyncio.shield(registered)
        except Exception as error:
            logger.warning("presence: the worker could not be registered: %s", error)
            renewed = False
        else:
            self._mark = times.mark
            self.lease.renewed(began, times.witnessed)
            renewed = True
        while True:
            await asyncio.sleep(RENEW_SECONDS if renewed else RETRY_SECONDS)
            renewed = await self.renew()

    async def _watch_lease(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.lease.age > RENEW_SECONDS + LOOK_SECONDS:
                await self.look()

    async def look(self) -> None:
        """Ask the witness whether anybody else could renew. Never raises."""
        began = self.lease.clock()
        word = await self._witness.look(self._mark) if self._mark else None
        if word is None:
            self.lease.not_seen()
        else:
            self.lease.looked(began, self.lease.clock(), word)

    def tell(self, connection: Connection) -> None:
        """Tell hooks that a connection has another identity; its record may have to wait."""
        for hook in self.on_record:
            hook(connection)

    def _submit(self, write_many: Callable[[list[Any]], Any], item: Any) -> asyncio.Future[Any]:
        return self._checked(lambda: self._writes.submit_item(write_many, item))

    def _copy_all(self) -> None:
        here = [self._arrival(connection) for connection in self._here.values()]
        self._checked(lambda: self._writes.submit(lambda: rows.reconcile(self._worker_id, here)))
        for hook in self.on_copy:
            self._checked(hook)

    def _checked(self, submit: Callable[[], asyncio.Future[Any]]) -> asyncio.Future[Any]:
        """Submit a write without which the copy is wrong."""
        try:
            future = submit()
        except Exception as error:
            if not isinstance(error, Overloaded):
                logger.exception("presence: rows could not be copied")
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        future.add_done_callback(self._check)
        return future

    def _check(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is not None:
            self._stale = True


def _addresses(connection: Connection) -> tuple[str, ...]:
    return tuple(storable(address, MAX_LENGTH) for address in connection.addresses)


def _enter(worker_ids: list[str]) -> Times:
    """Make the rows of workers, with a lease of the times that are returned."""
    times = read()
    _register(worker_ids, times)
    return times


def _register(worker_ids: list[str], times: Times) -> None:
    host = socket.gethostname()[:255]
    workers = [
        WorkerRecord(id=id, host=host, pid=os.getpid(), leased_at=times.witnessed) for id in worker_ids
    ]
    WorkerRecord.objects.bulk_create(workers, ignore_conflicts=True)


def _renew(worker_id: str, times: Times, witnessed: bool) -> bool:
    """Renew the worker's row, or make it; False when it had to be made.

    A renewal that was given up may be written late, after the next one: `leased_at` never goes back.
    """
    advance(times, witnessed)
    leased = Case(When(leased_at__gt=times.witnessed, then=F("leased_at")), default=Value(times.witnessed))
    if WorkerRecord.objects.filter(id=worker_id).update(renewed_at=Now(), leased_at=leased):
        return True
    _register([worker_id], times)
    return False


async def _sweep_beside() -> None:
    """Not with the grouped writes: tens of thousands of rows would hold up everybody's."""
    try:
        await query(sweep)
    except Exception as error:
        logger.warning("presence: cannot sweep: %s", error)


def sweep() -> int:
    """Delete workers that have been gone for long, and all that belongs to them; returns their number."""
    return rows.forget_workers(WorkerRecord.objects.gone_for(kept_seconds(), read().witnessed))
