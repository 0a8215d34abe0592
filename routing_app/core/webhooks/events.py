"""The types of events that webhooks are told of."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from django.core.exceptions import ValidationError


class EventType(StrEnum):
    """A type; the shapes of `data` stand in docs/webhooks.md."""

    CONNECTION_OPENED = "connection.opened"
    CONNECTION_CLOSED = "connection.closed"
    ADDRESS_OCCUPIED = "address.occupied"
    ADDRESS_VACATED = "address.vacated"
    MEMBER_JOINED = "member.joined"
    MEMBER_LEFT = "member.left"
    SESSION_CREATED = "session.created"
    SESSION_DENIED = "session.denied"
    SESSION_TAKEN_OVER = "session.taken_over"
    SESSION_EVICTED = "session.evicted"
    SESSION_EXPIRED = "session.expired"
    SESSION_FINISHED = "session.finished"
    SESSION_KILLED = "session.killed"
    TOKEN_REGISTERED = "token.registered"  # noqa: S105 - a type of event
    TOKEN_UNREGISTERED = "token.unregistered"  # noqa: S105 - a type of event
    USER_REGISTERED = "user.registered"
    MESSAGE_PUBLISHED = "message.published"
    TEST = "webhook.test"
    """Asked for by an operator, for one webhook, whichever types it wants."""


NEEDS_ADDRESSES: Final = frozenset({EventType.MESSAGE_PUBLISHED})
"""Types that only webhooks which name addresses are told of: there may be very many."""

ANY: Final = "*"
MAX_EVENTS: Final = 100


def check_events(events: Any) -> None:
    """Raise ValidationError for anything but a list of types, prefixes such as `session.*`, and `*`."""
    if not isinstance(events, list) or not events:
        raise ValidationError("expected a list of types of events")
    if len(events) > MAX_EVENTS:
        raise ValidationError(f"at most {MAX_EVENTS} types")
    for event in events:
        if not isinstance(event, str) or event not in WANTED:
            raise ValidationError(
                "expected a type of event, a prefix such as `session.*`, or `*`,"
                f" but got {str(event)[:100]!r}"
            )


_TYPES: Final = frozenset(type.value for type in EventType) - {EventType.TEST.value}
WANTED: Final = _TYPES | {f"{type.partition('.')[0]}.*" for type in _TYPES} | {ANY}
"""What a webhook may want: each type, the part of one before the dot, and all."""
