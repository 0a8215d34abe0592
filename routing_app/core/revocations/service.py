"""The rules of revocations: what may be made, and telling every worker. Uses the ORM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from routing_app.core.cluster.batching import EVERYBODY
from routing_app.core.models import Revocation
from routing_app.core.models.revocations import NAMED
from routing_app.core.publishing import publish_sync
from routing_app.core.revocations import lookup
from routing_app.core.revocations.known import LIFTED, MADE
from routing_app.core.revocations.names import Kind, network_name
from routing_app.core.strings import is_clean

ROWS_IN_MESSAGE: Final = 500


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a new revocation, the network in its one form. Raises ValidationError, by field."""
    named = {name: fields[name] for name in NAMED if fields.get(name)}
    if len(named) != 1:
        raise ValidationError(f"Expected exactly one of {', '.join(NAMED)}, but got {len(named) or 'none'}.")
    [(kind, value)] = named.items()
    if not is_clean(value):
        raise ValidationError({kind: "No control characters."})
    if fields.get("issued_before") and kind != Kind.SUBJECT:
        raise ValidationError({"issued_before": "Only with a subject."})
    check_until(fields.get("until"))
    if kind != Kind.NETWORK:
        return dict(fields)
    try:
        return {**fields, kind: network_name(value)}
    except ValueError:
        raise ValidationError({kind: "Expected a network such as 10.0.0.0/8 or 2001:db8::/32."}) from None


def check_until(until: Any) -> None:
    """Raise ValidationError for an end that is not in the future."""
    if until is not None and until <= timezone.now():
        raise ValidationError({"until": "Expected a time in the future."})


def make(**fields: Any) -> Revocation:
    """Revoke one name; what carries it ends on every worker after the commit. Raises ValidationError."""
    row = Revocation.objects.create(**checked(fields))
    tell_made([row])
    return row


def save_changed(row: Revocation) -> None:
    """Save a row that has another end or reason, and tell every worker.

    One that was over and no longer is gets a new id: workers have let clients in since they read it, and one
    that the message does not reach reads only what is behind the last id that it knows.
    """
    with transaction.atomic():
        over = Revocation.objects.filter(pk=row.pk, until__lte=Now())
        if (row.until is None or row.until > timezone.now()) and over.delete()[0]:
            row.pk = None
            row.save(force_insert=True)
        else:
            row.save()
    tell_made([row])
    tell_lifted()


def lift(revocations: Iterable[Revocation]) -> int:
    """Take revocations back; how many there were. Clients are let in again after the commit."""
    ids = [row.pk for row in revocations]
    lifted, _ = Revocation.objects.filter(pk__in=ids).delete()
    tell_lifted()
    return lifted


def tell_made(rows: Iterable[Revocation]) -> None:
    """Tell every worker after the commit; one that does not get that reads the rows within 5 seconds."""
    packed = [lookup.row_of(row).packed() for row in rows]
    for start in range(0, len(packed), ROWS_IN_MESSAGE):
        message = packed[start : start + ROWS_IN_MESSAGE]
        _tell_after_commit(MADE, message)


def tell_lifted() -> None:
    """Tell every worker after the commit; one that does not get that knows it within 5 seconds."""
    _tell_after_commit(LIFTED, None)


def _tell_after_commit(event: str, message: Any) -> None:
    # Robust: what is committed holds, and is read by every worker, also where it cannot be told.
    transaction.on_commit(partial(publish_sync, (EVERYBODY,), message, event=event), robust=True)
