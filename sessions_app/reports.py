"""Sessions as webhooks are told of them: the row of `/api/sessions/` with `by` and `why`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from routing_app.core.webhooks.events import EventType
from routing_app.core.webhooks.known import webhooks
from routing_app.core.webhooks.report import Event
from sessions_app.models import EventKind, SessionEvent
from sessions_app.rows import event_row

if TYPE_CHECKING:
    from sessions_app.store import AccountKey

TYPES: Final = {
    EventKind.CREATED: EventType.SESSION_CREATED,
    EventKind.DENIED: EventType.SESSION_DENIED,
    EventKind.TAKEN_OVER: EventType.SESSION_TAKEN_OVER,
    EventKind.EVICTED: EventType.SESSION_EVICTED,
    EventKind.EXPIRED: EventType.SESSION_EXPIRED,
    EventKind.FINISHED: EventType.SESSION_FINISHED,
    EventKind.KILLED: EventType.SESSION_KILLED,
}


def is_reported(kind: EventKind, observed: bool) -> bool:
    """True when a webhook is told of such an event. A denial that was only observed has refused nothing."""
    return bool(webhooks) and kind in TYPES and not observed and webhooks.any_wants(TYPES[kind])


def event_of(event: SessionEvent, key: AccountKey) -> Event:
    """An event of the history for webhooks."""
    return Event(TYPES[EventKind(event.kind)], event_row(event, *key), at=event.at)
