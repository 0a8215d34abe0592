"""Access of visitors: walkers they may call, targets they may send to, channels they may subscribe to.

Settings (EVENTS_PUBLIC_WALKERS, EVENTS_SEND_TO_*) and rows of channels decide. Rows are kept in memory, so
that no event waits for the database: read when the worker starts, again when a publication says that one has
changed, and again every EVENTS_RECHECK_SECONDS, in case that message was lost. A socket waits until they have
been read once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from routing_app.core.address import Address, make
from routing_app.core.eager import Spawn
from routing_app.core.fresh_rows import FreshRows
from routing_app.core.publishing import publish
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import current_worker
from routing_app.events.models import Channel, Who
from routing_app.events.walker_context import Visitor
from routing_app.events.wire import (
    CLOSED_EVENT,
    NEEDS_PUBLIC,
    NEEDS_USER,
    NO_CHANNEL,
    UNKNOWN_WALKER,
    root_reference,
)

if TYPE_CHECKING:
    from routing_app.events.walkers import Walker

ADDRESS: Final[Address] = make("events", "rules")
"""Internal; every worker subscribes to it."""
CHANGED: Final = "$events.rules"


class NotAllowed(Exception):
    """The visitor may not do that; the message is for the client."""


# --- walkers ---------------------------------------------------------------------------------------------


def has_user_for(walker: Walker, visitor: Visitor) -> bool:
    """Is the visitor a user, or does the walker need none? The rule of a socket and of HTTP."""
    return visitor.authenticated or not walker.auth


def check_walker(walker: Walker | None, name: str, visitor: Visitor) -> Walker:
    """The walker that an event of a socket names, if the visitor may call it. Raises NotAllowed.

    Over HTTP the route and the method have chosen a walker, and one of the public is called by the public,
    since its endpoint reads no token.
    """
    if walker is None or not walker.over_websocket:
        raise NotAllowed(UNKNOWN_WALKER)
    if not has_user_for(walker, visitor):
        raise NotAllowed(NEEDS_USER.format(name))
    if visitor.authenticated and not walker.auth and settings.EVENTS_PUBLIC_WALKERS == "public":
        raise NotAllowed(NEEDS_PUBLIC.format(name))
    return walker


# --- targets and channels --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChannelRule:
    """One channel's row."""

    send: str
    listen: str
    members: frozenset[str]
    """Root ids."""


class ChannelRules(FreshRows[dict[str, ChannelRule]]):
    """The rows of all channels that have one. Until they are known no socket may be served (`freshen`): a
    channel without a row is open to all.
    """

    rows_name = "rules of channels"

    def __init__(self, spawn: Spawn) -> None:
        super().__init__(spawn)
        self.keeps_fresh = True  # `tasks` reads them again: sockets have to obey what is new
        self._rows: dict[str, ChannelRule] = {}

    def may_listen(self, visitor: Visitor, channel_id: str) -> bool:
        """May the visitor subscribe to this channel?"""
        rule = self._rows.get(channel_id)
        return rule is None or _allows(rule.listen, visitor, rule.members)

    def may_send(self, visitor: Visitor, channel_id: str, subscribed: bool) -> bool:
        """May the visitor, whose socket is `subscribed` to the channel or not, send to it?

        Members are those that the channel's row lists; of a channel without a row, its subscribers.
        """
        rule = self._rows.get(channel_id)
        if rule is None:
            who = settings.EVENTS_SEND_TO_CHANNELS
            return subscribed if who == Who.MEMBERS else _allows(who, visitor)
        return _allows(rule.send or settings.EVENTS_SEND_TO_CHANNELS, visitor, rule.members)

    def load(self) -> dict[str, ChannelRule]:
        """Every channel's row. Uses the ORM."""
        return _read()

    def use(self, rows: dict[str, ChannelRule]) -> None:
        """Know these rows from now on."""
        self._rows = rows


def check_channel(rules: ChannelRules, visitor: Visitor, channel_id: str, subscribed: bool) -> None:
    """Raise NotAllowed unless the visitor may send to this channel."""
    if not rules.may_send(visitor, channel_id, subscribed):
        raise NotAllowed(NO_CHANNEL.format(channel_id))


def check_target(kind: str, visitor: Visitor) -> None:
    """Raise NotAllowed unless the visitor may send `user` or `client` events."""
    if not may_target(kind, visitor):
        raise NotAllowed((CLOSED_EVENT if visitor.authenticated else NEEDS_USER).format(kind))


def may_target(kind: str, visitor: Visitor) -> bool:
    """May the visitor send `user` or `client` events?"""
    who = settings.EVENTS_SEND_TO_USERS if kind == "user" else settings.EVENTS_SEND_TO_CLIENTS
    return _allows(who, visitor)


def _allows(who: str, visitor: Visitor, members: frozenset[str] = frozenset()) -> bool:
    if who == Who.MEMBERS:
        return visitor.root_id in members
    return who == Who.EVERYONE or (who == Who.AUTHENTICATED and visitor.authenticated)


def _read() -> dict[str, ChannelRule]:
    rows = Channel.objects.prefetch_related("members")
    return {
        row.channel_id: ChannelRule(
            row.who_may_send,
            row.who_may_listen,
            frozenset(root_reference(root.hex_id) for root in row.members.all()),
        )
        for row in rows
    }


def announce() -> None:
    """Have every worker read the rows again after the commit; on return they hold on this one."""
    transaction.on_commit(_tell_workers)


async def _tell() -> None:
    await publish((ADDRESS,), None, event=CHANGED)
    reading: asyncio.Task[None] | None = current_worker().protocols["events"].reading
    if reading is not None:
        await asyncio.wait([reading])


_tell_workers = from_sync(_tell)
