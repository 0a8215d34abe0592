"""How many events one socket, and one user, may send."""

from __future__ import annotations

from typing import Final
from weakref import WeakValueDictionary

from django.conf import settings

from routing_app.core.access.limits import TokenBucket, counted_as
from routing_app.events.walker_context import Visitor

SWEEP: Final = 1024
"""Buckets kept without a look at whether they are full again."""


class SharedBucket(TokenBucket):
    """One bucket for all sockets of a user in this process."""

    __slots__ = ("__weakref__",)


class Spent:
    """Buckets that somebody took from, kept until they are full again: nobody fills one by reconnecting."""

    def __init__(self) -> None:
        self._buckets: dict[str, SharedBucket] = {}
        self._sweep_at = SWEEP

    def keep(self, name: str, bucket: SharedBucket) -> None:
        """Keep a bucket; now and then, forget those that are full."""
        self._buckets[name] = bucket
        if len(self._buckets) >= self._sweep_at:
            self._buckets = {name: kept for name, kept in self._buckets.items() if not kept.is_full()}
            self._sweep_at = SWEEP + 2 * len(self._buckets)

    def __len__(self) -> int:
        return len(self._buckets)


_by_user: Final[WeakValueDictionary[str, SharedBucket]] = WeakValueDictionary()
_spent: Final = Spent()


class EventRates:
    """The bounds of one socket: its own, and those that it shares with others.

    The public is not a user: its sockets share a bound with those from the same network address.
    """

    def __init__(self, visitor: Visitor, host: str) -> None:
        self._host = counted_as(host)
        self._own = TokenBucket(settings.EVENTS_RATE, settings.EVENTS_BURST)
        self.belong_to(visitor)

    def belong_to(self, visitor: Visitor) -> None:
        """Count with this visitor's other sockets from now on."""
        name = visitor.root_id if visitor.authenticated else f"host {self._host}"
        bucket = _by_user.get(name)
        if bucket is None:
            bucket = _by_user[name] = SharedBucket(settings.EVENTS_USER_RATE, settings.EVENTS_USER_BURST)
        self._name, self._shared = name, bucket

    def take(self) -> float:
        """Count one event; seconds after which it may be tried again, 0.0 when it may go on now."""
        if wait := self._own.try_take():
            return wait
        if settings.EVENTS_USER_RATE:
            _spent.keep(self._name, self._shared)
        return self._shared.try_take()
