"""How many events one socket, and one user, may send."""

from __future__ import annotations

from typing import Final
from weakref import WeakValueDictionary

from django.conf import settings

from routing_app.core.limits import TokenBucket
from routing_app.events.visit import Visitor


class SharedBucket(TokenBucket):
    """One bucket for all sockets of a user in this process; it goes with the last of them."""

    __slots__ = ("__weakref__",)


_by_user: Final[WeakValueDictionary[str, SharedBucket]] = WeakValueDictionary()


class Rates:
    """The bounds of one socket: its own, and those that it shares with others.

    The public is no user: its sockets share a bound with those from the same network address.
    """

    def __init__(self, visitor: Visitor, host: str) -> None:
        self._host = host
        self._own = TokenBucket(settings.EVENTS_RATE, settings.EVENTS_BURST)
        self.belong_to(visitor)

    def belong_to(self, visitor: Visitor) -> None:
        """Count with this visitor's other sockets from now on."""
        name = visitor.root_id if visitor.authenticated else f"host {self._host}"
        bucket = _by_user.get(name)
        if bucket is None:
            bucket = _by_user[name] = SharedBucket(settings.EVENTS_USER_RATE, settings.EVENTS_USER_BURST)
        self._shared = bucket

    def take(self) -> float:
        """Count one event; seconds after which it may be tried again, 0.0 when it may go on now."""
        return self._own.try_take() or self._shared.try_take()
