"""Makes API keys invalid, or others: in the database, and at once in every process that remembers them."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from routing_app.core.cluster.batching import EVERYBODY
from routing_app.core.models import ApiKey
from routing_app.core.publishing import publish_sync
from routing_app.core.worker import KEYS_REVOKED


def revoke(rows: Iterable[ApiKey]) -> int:
    """Make keys invalid for good; how many were valid before."""
    ids = [row.pk for row in rows]
    revoked = ApiKey.objects.filter(pk__in=ids, revoked_at=None).update(revoked_at=timezone.now())
    if revoked:
        transaction.on_commit(forget)
    return revoked


def forget() -> None:
    """Have every process ask the database again for the keys that it remembers."""
    publish_sync((EVERYBODY,), None, event=KEYS_REVOKED)
