"""Writes messages into the table of the outbox: `switchboard.publish_on_commit`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.db import connection, transaction

from routing_app.core.models.outbox_messages import OutboxMessage, new_id
from routing_app.core.publishable import check_addresses, check_id, check_message
from routing_app.core.worker import wake_outbox

CHANNEL: Final = "switchboard_outbox"
"""Of PostgreSQL's NOTIFY: the workers wake up."""


def publish_on_commit(addresses: Iterable[str], message: Any, id: str | None = None) -> str:
    """Publish when the caller's transaction has committed, and never when it is rolled back; returns the id.

    Without a transaction, at once. The message is written into the table `outbox_message`, so it comes to
    pass also when this process ends right after the commit. Messages of one writer are published in the order
    of its commits, each at least once, and, by its id, once for receivers (IDEMPOTENCY_SECONDS).

    Raises AddressError for an address that cannot be published to, TypeError for a string in place of several
    addresses or a message that JSON cannot hold, and ValueError for an id that has not 1 to 64 printable
    characters, or a message with NaN, NUL, half of a surrogate pair, or more than 500 levels.
    """
    if isinstance(addresses, str):
        raise TypeError(f"expected several addresses, but got the string {addresses!r}")
    checked = check_addresses(addresses)
    check_message(message)
    name = new_id() if id is None else check_id(id)
    if not checked:
        return name
    with transaction.atomic():
        # An id that is there already is the same message; an error would end the caller's transaction.
        OutboxMessage.objects.bulk_create(
            [OutboxMessage(id=name, addresses=list(checked), message=message)], ignore_conflicts=True
        )
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"NOTIFY {CHANNEL}")
        else:
            transaction.on_commit(wake_outbox)
    return name
