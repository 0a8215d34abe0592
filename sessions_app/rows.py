"""A session as operators see it: in `/api/sessions/`, in its history, and in what webhooks are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sessions_app.models import Session, SessionEvent

STREAM: Final = ("name", "offer_id", "tag", "content_id", "device_name", "device_type")
"""The fields that a stream which is denied has, too."""


def live_row(session: Any) -> dict[str, Any]:
    """The row of a session of `service.operators_view`."""
    account = session.account
    return _row(
        session, session.pk, account.publisher.name, account.customer, session.last_seen_at, session.ends_at
    )


def event_row(event: SessionEvent, publisher: str, customer: str) -> dict[str, Any]:
    """The row of a session as it was at an event, with the cause; of one that was denied, what was wanted."""
    row = _row(event, event.session_id, publisher, customer, event.seen_at, event.expires_at)
    return {**row, "by": event.by, "why": event.why}


def seen_of(session: Session, stood_still: timedelta) -> dict[str, Any]:
    """The columns of an event that tell of its session; the clock of deadlines `stood_still` for so long.

    `renewed_at` of its worker is there where it was read.
    """
    seen = (getattr(session, "renewed_at", None), session.seen_at, session.created_at)
    expires_at = session.expires_at
    return {
        "session_id": session.id,
        "connection_id": session.connection_id,
        "worker_id": session.worker_id or "",
        "created_at": session.created_at,
        "bound_at": session.bound_at,
        "seen_at": max(at for at in seen if at is not None),
        "expires_at": None if expires_at is None else expires_at + stood_still,
    }


def shown(at: datetime | None) -> str | None:
    """A time as the API has it."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _row(
    one: Session | SessionEvent,
    id: Any,
    publisher: str,
    customer: str,
    seen_at: datetime | None,
    expires_at: datetime | None,
) -> dict[str, Any]:
    return {
        "id": None if id is None else str(id),
        "publisher": publisher,
        "customer": customer,
        **{name: getattr(one, name) for name in STREAM},
        "connection": one.connection_id,
        "worker": one.worker_id or None,
        "created_at": shown(one.created_at),
        "bound_at": shown(one.bound_at),
        "seen_at": shown(seen_at),
        "expires_at": shown(expires_at),
    }
