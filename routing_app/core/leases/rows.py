"""Rows of connections and their subscriptions: every write of them, each with its report to webhooks.

Webhooks are told of an event by the transaction that inserts or deletes its row. Where they want to know,
rows are locked before they are deleted, so that of two transactions one tells: the worker's own, and that of
another one which takes the worker for dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from routing_app.core.database import database_time, insert_rows
from routing_app.core.leases import reports
from routing_app.core.leases.reports import Closed, Listed, Pair
from routing_app.core.models import ConnectionRecord, Subscription, WorkerRecord
from routing_app.core.models.workers import WorkerQuerySet
from routing_app.core.webhooks import occupied

CHUNK: Final = 500
"""Rows in one statement."""
IDENTITY_LENGTH: Final = 255
CONNECTION_FIELDS: Final = ("id", "worker", "protocol", "identity", "peer", "connected_at")
SUBSCRIPTION_FIELDS: Final = ("connection", "address")
UNKNOWN_CODE: Final = 1006
"""RFC 6455's own for an end without a close: also of connections whose worker died."""


@dataclass(slots=True)
class Arrival:
    """A connection as its rows have it."""

    id: str
    worker: str
    protocol: str
    identity: str
    peer: str
    connected_at: datetime
    addresses: tuple[str, ...]


@dataclass(slots=True)
class Departure:
    """The end of a connection."""

    id: str
    code: int
    at: datetime


Change = tuple[str, str, tuple[str, ...]]
"""A connection's id, its identity and its addresses as they are now."""


def storable(text: str, size: int) -> str:
    """A client's string as every database takes it: one that none takes would spoil the whole copy."""
    if not text.isascii() or "\x00" in text:
        text = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return text[:size]


def insert(arrivals: list[Arrival]) -> None:
    """Insert connections and their subscriptions; those that are there already are left alone."""
    connections = [
        (one.id, one.worker, one.protocol, one.identity, one.peer, database_time(one.connected_at))
        for one in arrivals
    ]
    told = reports.are_wanted()
    new = insert_rows(ConnectionRecord, CONNECTION_FIELDS, connections, ["id"] if told else ())
    pairs = [(one.id, address) for one in arrivals for address in one.addresses]
    if not told:
        insert_rows(Subscription, SUBSCRIPTION_FIELDS, pairs)
        return
    listed = {one.id: Listed(one.id, one.protocol, one.identity, one.peer) for one in arrivals}
    reports.opened(listed[id] for (id,) in new)
    subscribe(pairs, listed)


def subscribe(pairs: Sequence[Pair], listed: dict[str, Listed]) -> None:
    """Insert subscriptions of connections that have rows, and are `listed` so."""
    told = reports.are_wanted()
    new = insert_rows(Subscription, SUBSCRIPTION_FIELDS, pairs, SUBSCRIPTION_FIELDS if told else ())
    if told:
        reports.joined(((id, address) for id, address in new), listed)


def unsubscribe(pairs: Iterable[Pair]) -> None:
    """Delete subscriptions; those that are not there are ignored."""
    given = set(pairs)
    connections = {id for id, _ in given}
    rows = ConnectionRecord.objects.filter(pk__in=connections)
    listed = _locked(rows) if reports.are_wanted() else None
    found = Subscription.objects.filter(connection_id__in=connections)
    _delete_subscriptions([row for row in found if (row.connection_id, row.address) in given], listed)


def delete(departures: list[Departure]) -> None:
    """Delete connections; those that have no row are ignored."""
    ends = {one.id: one for one in departures}
    ids = list(ends)
    for start in range(0, len(ids), CHUNK):
        gone = ConnectionRecord.objects.filter(id__in=ids[start : start + CHUNK])
        if reports.are_wanted():
            _report_end(
                [
                    Closed(one, ends[one.id].code, since, ends[one.id].at, ends[one.id].at)
                    for one, since in _ending(gone)
                ]
            )
        gone.delete()


def rewrite(changes: list[Change]) -> None:
    """Bring rows up to date, the last change of each connection; one without a row is left alone."""
    latest = {id: (identity, addresses) for id, identity, addresses in changes}
    ids = list(latest)
    for start in range(0, len(ids), CHUNK):
        _rewrite_chunk({id: latest[id] for id in ids[start : start + CHUNK]})


def _rewrite_chunk(wanted: dict[str, tuple[str, tuple[str, ...]]]) -> None:
    # Read first, write differences: most changes touch one address, and a row that is deleted and made again
    # would take rows of protocols with it that hang on it.
    rows = ConnectionRecord.objects.filter(pk__in=list(wanted))
    told = reports.are_wanted()
    if told:
        rows = rows.select_for_update(no_key=True).order_by("pk")
    records = {record.id: record for record in rows}
    renamed = [record for id, record in records.items() if record.identity != wanted[id][0]]
    for record in renamed:
        record.identity = wanted[record.id][0]
    ConnectionRecord.objects.bulk_update(renamed, ["identity"])
    listed = {id: Listed.of(record) for id, record in records.items()}
    stored = {
        (row.connection_id, row.address): row
        for row in Subscription.objects.filter(connection_id__in=list(records))
    }
    pairs = {(id, address) for id in records for address in wanted[id][1]}
    stale = [row for pair, row in stored.items() if pair not in pairs]
    _delete_subscriptions(stale, listed if told else None)
    subscribe([pair for pair in pairs if pair not in stored], listed)


def reconcile(worker_id: str, here: list[Arrival]) -> None:
    """Make rows equal to what is here. Those that are right are only read: rows of protocols hang on them."""
    known = set(ConnectionRecord.objects.filter(worker_id=worker_id).values_list("id", flat=True))
    now = timezone.now()
    delete([Departure(id, UNKNOWN_CODE, now) for id in known - {one.id for one in here}])
    insert([one for one in here if one.id not in known])
    rewrite([(one.id, one.identity, one.addresses) for one in here if one.id in known])


def forget_workers(workers: WorkerQuerySet) -> int:
    """Delete workers and all that belongs to them; their number."""
    ids = list(workers.values_list("id", flat=True))
    if ids and not reports.are_wanted():
        with transaction.atomic():
            occupied.let_go_by(ids)
            WorkerRecord.objects.filter(id__in=ids).delete()
        return len(ids)
    return sum(_forget(workers.filter(pk=id)) for id in ids)


def _forget(workers: WorkerQuerySet) -> bool:
    """Delete one worker, unless it is one of these no more."""
    with transaction.atomic():
        # Locked first: what it writes itself from here on waits, and then fails, since its row is gone.
        worker = workers.select_for_update().first()
        if worker is None:
            return False
        now = timezone.now()
        _report_end(
            [
                Closed(one, UNKNOWN_CODE, since, max(since, min(worker.renewed_at, now)), now)
                for one, since in _ending(ConnectionRecord.objects.filter(worker=worker))
            ]
        )
        occupied.let_go_by([worker.id])
        worker.delete()
    return True


def _locked(rows: Any) -> dict[str, Listed]:
    return {row.id: Listed.of(row) for row in rows.select_for_update(no_key=True).order_by("pk")}


def _ending(rows: Any) -> list[tuple[Listed, datetime]]:
    """Connections that are about to be deleted, locked, and when each began."""
    return [(Listed.of(row), row.connected_at) for row in rows.select_for_update().order_by("pk")]


def _report_end(ends: Sequence[Closed]) -> None:
    """Report the end of connections whose rows are locked, and of their subscriptions."""
    listed = {end.connection.id: end.connection for end in ends}
    ids = list(listed)
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        found = Subscription.objects.filter(connection_id__in=chunk).order_by("pk")
        reports.left(found.values_list("connection_id", "address"), listed)
    reports.closed(ends)


def _delete_subscriptions(rows: Sequence[Subscription], listed: dict[str, Listed] | None) -> None:
    """Delete subscriptions. Where webhooks are told of them, their connections are locked, and `listed`; one
    that is not has just been deleted with all that it had.
    """
    if listed is not None:
        rows = [row for row in rows if row.connection_id in listed]
        reports.left(((row.connection_id, row.address) for row in rows), listed)
    Subscription.objects.filter(pk__in=[row.pk for row in rows]).delete()
