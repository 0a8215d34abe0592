"""The context of a running walker: its caller, the node where it entered, and its reports."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from rest_framework.utils.encoders import JSONEncoder

from routing_app.events.wire import PUBLIC_ROOT

_encode_other = JSONEncoder().default


class NoWalker(RuntimeError):
    """Called where no walker runs."""


class TooManyNotifications(RuntimeError):
    """One run of a walker has notified more often than EVENTS_WALKER_NOTIFICATIONS allows."""


class TooLarge(ValueError):
    """One notification is larger than any socket could take."""


class TooLate(RuntimeError):
    """A walker has notified after its time limit, when its caller had been told that it has failed."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """The caller: a user with a valid token, or the public."""

    root_id: str = PUBLIC_ROOT
    user_id: int | None = None
    jti: str = ""
    expires_at: float = float("inf")
    """Unix seconds."""
    issued_at: float = float("-inf")
    """The same of `iat`."""

    @property
    def authenticated(self) -> bool:
        """False for the public."""
        return self.user_id is not None

    def user(self) -> AbstractBaseUser | None:
        """The user's row, None for the public. Uses the ORM."""
        users = get_user_model()._default_manager
        return None if self.user_id is None else users.filter(pk=self.user_id).first()


PUBLIC = Visitor()


@dataclass(slots=True)
class WalkerCall:
    """One run of a walker. `client_id` and `channel_id` are empty when it did not come over a socket."""

    visitor: Visitor
    client_id: str = ""
    channel_id: str = ""
    node: str = ""
    """The reference of the entry node; the visitor's root unless the caller named another."""
    here: Any = None
    """The result of the node's finder (`nodes.node`); None at a root."""
    reports: list[Any] = field(default_factory=list)
    notifications: int = 0
    late: bool = False
    """True once the walker has run longer than it may."""

    def count_notifications(self, number: int) -> None:
        """Raises TooManyNotifications, TooLate."""
        if self.late:
            raise TooLate("the walker has run too long, and notifies nobody any more")
        self.notifications += number
        if self.notifications > settings.EVENTS_WALKER_NOTIFICATIONS:
            raise TooManyNotifications(f"more than {settings.EVENTS_WALKER_NOTIFICATIONS} notifications")


running: ContextVar[WalkerCall | None] = ContextVar("running", default=None)


def current() -> WalkerCall:
    """The call that runs now. Raises NoWalker."""
    call = running.get()
    if call is None:
        raise NoWalker("no walker runs here")
    return call


def report(value: Any) -> None:
    """Add a value to the answer. It is copied now; types that JSON does not know are written as DRF does.

    Raises NoWalker, and TypeError for a value without a JSON form.
    """
    current().reports.append(plain(value))


def plain(value: Any, largest: int | None = None) -> Any:
    """A value as JSON holds it: dates and UUIDs become strings, Decimals numbers, dataclasses objects.

    Raises TypeError for a value without a JSON form, TooLarge for one of more than `largest` bytes.
    """
    encoded = orjson.dumps(value, default=_encode_other, option=orjson.OPT_NON_STR_KEYS)
    if largest is not None and len(encoded) > largest:
        raise TooLarge(f"a notification of {len(encoded)} bytes; at most {largest}")
    return orjson.loads(encoded)


def largest_message() -> int:
    """Bytes of one message; more would fill an outbox, and its client would count as a slow reader."""
    return int(settings.MAX_OUTBOX_BYTES) // 2
