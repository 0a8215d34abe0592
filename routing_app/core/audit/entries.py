"""Writing of entries: in the caller's transaction in synchronous code, grouped on a running loop."""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from django.http import HttpRequest

from routing_app.core.audit.actor import NOBODY, Actor
from routing_app.core.models import AuditEntry
from routing_app.core.request_id import CURRENT
from routing_app.core.synchronous import on_a_loop
from routing_app.core.worker import current_worker

logger = logging.getLogger(__name__)

OK: Final = "ok"
FAILED: Final = "failed"
LENGTHS: Final = {field.name: getattr(field, "max_length", None) for field in AuditEntry._meta.get_fields()}


def entry(
    action: str, target: str = "", outcome: str = OK, actor: Actor = NOBODY, network: str = ""
) -> AuditEntry:
    """A row that is not saved; each string is cut to its column."""
    row = AuditEntry(actor_kind=actor.kind, request_id=CURRENT.get())
    values = {"actor": actor.name, "action": action, "target": target, "outcome": outcome, "network": network}
    for name, value in values.items():
        setattr(row, name, _storable(value)[: LENGTHS[name]])
    return row


def record(
    action: str, target: str = "", outcome: str = OK, actor: Actor = NOBODY, network: str = ""
) -> list[Future[Any]]:
    """Record one act; on a running loop the futures resolve when that is done.

    `target` names a row (`tokens.registeredtoken 17`), an address whose secret name is masked, or a path:
    never a secret, a whole token or a message. In synchronous code the row is a part of the caller's
    transaction, and errors of the database are raised; on a running loop it is written soon after, before the
    worker stops at the latest, and an error is logged.
    """
    return keep([entry(action, target, outcome, actor, network)])


def keep(rows: Sequence[AuditEntry]) -> list[Future[Any]]:
    """Write rows as `record` does."""
    if not on_a_loop():
        insert(rows)
        return []
    writes, pending = current_worker().writes, []
    for row in rows:
        try:
            pending.append(writes.submit_item(insert, row))
        except Exception as error:
            lost(row, error)
        else:
            pending[-1].add_done_callback(partial(_tell_lost, row))
    return pending


def insert(rows: Sequence[AuditEntry]) -> None:
    """Write rows now."""
    AuditEntry.objects.bulk_create(rows)


def lost(row: AuditEntry, error: BaseException) -> None:
    """Log that a row is not written."""
    logger.warning("audit: %s, %s, is not recorded: %s", row, row.outcome, type(error).__name__)


def network_of(request: HttpRequest) -> str:
    """The client's network address, behind trusted proxies, too; "" where it has none."""
    scope: dict[str, Any] | None = request.__dict__.get("scope")
    if scope is None:
        return str(request.META.get("REMOTE_ADDR", ""))
    client = scope.get("client")
    return str(client[0] or "") if client else ""


def _storable(value: str) -> str:
    """A string without what a database or a terminal would not take."""
    if value.isprintable():
        return value
    return "".join(one if one.isprintable() else "\ufffd" for one in value)


def _tell_lost(row: AuditEntry, written: Future[Any]) -> None:
    if not written.cancelled() and (error := written.exception()) is not None:
        lost(row, error)
