"""Who is in which room: rows first, then the hub, then the client is told."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.db import Error as DatabaseError
from django.utils import timezone

from routing_app.core import metrics
from routing_app.core.codes import UNAVAILABLE, Refusal
from routing_app.core.connection import State
from routing_app.core.database import Overloaded
from routing_app.core.worker import LayerUnavailable, Worker
from routing_app.rooms import records
from routing_app.rooms.member import Member, roll
from routing_app.rooms.models import address
from routing_app.rooms.records import Entry, Key

logger = logging.getLogger(__name__)

LINE: Final = "rooms"

Request = Callable[[Worker, Entry], Awaitable[frozenset[Entry]]]


def ignore(member: Member, reason: str, refusal: Refusal = Refusal.MALFORMED) -> None:
    """Count and log an event that has no effect."""
    metrics.REFUSED.labels(LINE, refusal).inc()
    logger.info("/%s: an event of %s is ignored: %s", member.namespace, member.connection.id, reason)


async def join(member: Member, room: str, nickname: Any, *more_addresses: str) -> bool:
    """Let a client into a room, once its row is committed; False when it is not in the room after this.

    It hears the room before its row can be seen: whoever finds it in CLIENTS can reach it. A second JOIN only
    changes the nickname.
    """
    key = (member.namespace, room)
    before = member.rooms.get(key)
    joined_at = before.joined_at if before else timezone.now()
    entry = Entry(key, member.connection.id, nickname, joined_at, member.connection.peer.host)
    addresses = (address(*key), *more_addresses)
    if not await _granted(member, records.ask, entry) or not await _hear(member, *addresses):
        return False
    member.rooms[key] = entry
    if not await _granted(member, records.join, entry):
        _undo(member, key, before, *addresses)
        return False
    member.nickname = nickname
    member.connection.identity = _text(nickname)
    member.worker.presence.change(member.connection)
    roll(member.worker).used.add(key)
    return True


def _undo(member: Member, key: Key, before: Entry | None, *addresses: str) -> None:
    if before is not None:
        member.rooms[key] = before
    else:
        member.rooms.pop(key, None)
        member.worker.hub.unsubscribe(member.connection, *addresses)


async def _granted(member: Member, request: Request, entry: Entry) -> bool:
    """Whether a request about an entry succeeds; what is refused, or cannot be asked, is counted."""
    try:
        refused = await request(member.worker, entry)
    except (Overloaded, DatabaseError) as error:
        unavailable(member, error)
        return False
    if entry in refused:
        ignore(member, "the room is full, or not for this client", Refusal.FORBIDDEN)
        return False
    return True


async def _hear(member: Member, *addresses: str) -> bool:
    """Subscribe; False when the client went away meanwhile, or the channel layer is out."""
    worker, connection = member.worker, member.connection
    try:
        await worker.hub.subscribe(connection, *addresses)
    except LayerUnavailable:
        connection.close(UNAVAILABLE)
    if connection.state is State.OPEN:
        return True
    worker.hub.unsubscribe(connection, *addresses)
    return False


async def leave_room(member: Member, room: str, *more_addresses: str) -> bool:
    """Take a client out of a room; True when that is committed, also when it was not in."""
    key = (member.namespace, room)
    if member.rooms.pop(key, None) is None:
        return True
    member.worker.hub.unsubscribe(member.connection, address(*key), *more_addresses)
    try:
        removed = records.leave(member.worker, key, member.connection.id)
        member.worker.presence.change(member.connection)
        await removed
    except (Overloaded, DatabaseError) as error:
        unavailable(member, error)
        return False
    return True


def unavailable(member: Member, error: Exception) -> None:
    """The database does not serve a client: it gets no ack, and may try again."""
    metrics.REFUSED.labels(LINE, Refusal.UNAVAILABLE).inc()
    logger.warning("/%s: the database does not answer: %s", member.namespace, type(error).__name__)


def _text(nickname: Any) -> str:
    return "" if nickname is None else nickname if isinstance(nickname, str) else str(nickname)
