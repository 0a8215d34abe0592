"""Which addresses are occupied, over all workers: the transactions of `address.occupied` and `.vacated`.

`AddressHolder` says which worker has subscribers of an address, `OccupiedAddress` what each webhook was told.
Every change of them happens under one lock, in order, so for each webhook and address `occupied` and
`vacated` alternate, whichever workers race: the row of the one is what the other deletes. The rows of a
worker whose lease is over are deleted by another; should it come back, it finds that it holds nothing.

All of this runs in a thread that may use the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from routing_app.core.database import insert_rows
from routing_app.core.leases.reach import read
from routing_app.core.models import LEASE_SECONDS, WorkerRecord
from routing_app.core.models.occupied import AddressHolder, OccupiedAddress
from routing_app.core.webhooks.events import EventType
from routing_app.core.webhooks.known import KnownWebhook, enabled_webhooks
from routing_app.core.webhooks.report import Event, write_for

VACANT_SECONDS: Final = 3.0
"""An address without subscribers is vacated after so long: somebody who reconnects makes no noise."""
CHUNK: Final = 500
"""Rows, or addresses, in one statement."""
LOCK: Final = 0x5377_4F63_6375_7079
"""Name of PostgreSQL's advisory lock."""


def tracks(webhook: KnownWebhook) -> bool:
    """True when a webhook wants to know which addresses are occupied."""
    return webhook.takes(EventType.ADDRESS_OCCUPIED) or webhook.takes(EventType.ADDRESS_VACATED)


def tracks_address(webhook: KnownWebhook, address: str) -> bool:
    """The same of one address."""
    return tracks(webhook) and (not webhook.addresses or webhook.addresses.cover(address))


def change(worker: str, held: Sequence[str], released: Sequence[str]) -> None:
    """A worker has subscribers of some addresses now, and of others no more. Not more than CHUNK each."""
    with _locked():
        if held:
            insert_rows(AddressHolder, ("address", "worker"), [(address, worker) for address in held])
            OccupiedAddress.objects.filter(address__in=held).exclude(empty_since=None).update(
                empty_since=None
            )
            _occupy(held)
        if released:
            AddressHolder.objects.filter(worker_id=worker, address__in=released).delete()
            others = AddressHolder.objects.filter(address__in=released)
            still = set(others.values_list("address", flat=True))
            _vacate([address for address in released if address not in still])


def let_go_by(workers: Sequence[str]) -> None:
    """Workers hold nothing any more, in the transaction in which they are deleted."""
    holders = AddressHolder.objects.filter(worker_id__in=workers)
    addresses = sorted(set(holders.values_list("address", flat=True)))
    holders.delete()
    for some in _chunks(addresses):
        _without_holder(OccupiedAddress.objects.filter(address__in=some)).update(empty_since=Now())


def look(worker: str, thorough: bool) -> int:
    """Do what workers that died have left; the number of addresses that this one holds by its rows."""
    gone = _gone().exclude(pk=worker)
    if AddressHolder.objects.filter(worker__in=gone).exists():
        with _locked():
            let_go_by(list(gone.values_list("pk", flat=True)))
    if thorough:
        with _locked():
            _without_holder(OccupiedAddress.objects.filter(empty_since=None)).update(empty_since=Now())
    while _due().exists():
        with _locked():
            due = _without_holder(_due()).values_list("address", flat=True)
            addresses = sorted(set(due[:CHUNK]))
            _vacate(addresses)
            if not addresses:  # all that are due have a holder again
                _due().update(empty_since=None)
    return AddressHolder.objects.filter(worker_id=worker).count()


def forget_unwanted(worker: str) -> None:
    """Forget what webhooks were told that do not want it any more, and what is held for nobody."""
    with _locked():
        known = {one.id: one for one in enabled_webhooks() if tracks(one)}
        OccupiedAddress.objects.exclude(webhook_id__in=known).delete()
        found = OccupiedAddress.objects.values_list("pk", "webhook_id", "address")
        unwanted = [pk for pk, id, address in found.iterator() if not tracks_address(known[id], address)]
        for some in _chunks(unwanted):
            OccupiedAddress.objects.filter(pk__in=some).delete()
        if not known:
            AddressHolder.objects.filter(worker_id=worker).delete()


@contextmanager
def _locked() -> Iterator[None]:
    """A transaction that has the lock; SQLite's have the whole database."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        yield


def _occupy(addresses: Sequence[str]) -> None:
    """Tell each webhook that wants to know, and was not told yet."""
    known = {one.id: one for one in enabled_webhooks() if tracks(one)}
    wanted = [
        (id, address) for address in addresses for id, one in known.items() if tracks_address(one, address)
    ]
    fields = ("webhook", "address")
    new = insert_rows(OccupiedAddress, fields, wanted, fields)
    _tell(EventType.ADDRESS_OCCUPIED, known, new)


def _vacate(addresses: Sequence[str]) -> None:
    """Tell each webhook that was told of the contrary, of addresses that nobody holds."""
    rows = OccupiedAddress.objects.filter(address__in=addresses)
    told = list(rows.values_list("webhook_id", "address"))
    rows.delete()
    _tell(EventType.ADDRESS_VACATED, {one.id: one for one in enabled_webhooks()}, told)


def _tell(type: EventType, known: dict[int, KnownWebhook], pairs: Iterable[tuple[Any, ...]]) -> None:
    write_for(
        (known[id], Event(type, {"address": address}, address))
        for id, address in pairs
        if id in known and known[id].wants(type, address)
    )


def _gone() -> Any:
    """Workers whose lease is over."""
    return WorkerRecord.objects.gone_for(LEASE_SECONDS, read().witnessed)


def _due() -> Any:
    return OccupiedAddress.objects.filter(empty_since__lte=Now() - timedelta(seconds=VACANT_SECONDS))


def _without_holder(rows: Any) -> Any:
    return rows.filter(~Q(Exists(AddressHolder.objects.filter(address=OuterRef("address")))))


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
