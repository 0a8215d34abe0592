"""Who is in which room: rows first, then the hub, then the client is told."""

from __future__ import annotations

import logging
from typing import Any, Final

from django.conf import settings
from django.db import Error as DatabaseError
from django.utils import timezone

from routing_app.core import metrics
from routing_app.core.codes import UNAVAILABLE, Refusal
from routing_app.core.connection import State
from routing_app.core.database import Overloaded
from routing_app.core.subscriptions import LayerUnavailable
from routing_app.rooms import records
from routing_app.rooms.member import Member, roll
from routing_app.rooms.models import address
from routing_app.rooms.records import Entry, Verb

logger = logging.getLogger(__name__)

LINE: Final = "rooms"


def ignore(member: Member, reason: str, refusal: Refusal = Refusal.MALFORMED) -> None:
    """Count and log an event that has no effect."""
    metrics.REFUSED.labels(LINE, refusal).inc()
    logger.info("/%s: an event of %s is ignored: %s", member.namespace, member.connection.id, reason)


async def join(member: Member, room: str, nickname: Any, *more_addresses: str) -> bool:
    """Let a client into a room, once its row is committed; False when it is not in the room after this.

    It hears the room before its row can be seen: whoever finds it in CLIENTS can reach it. So a room that may
    refuse it is asked before. A second JOIN only changes the nickname.
    """
    entry = _entry(member, room, nickname, *more_addresses)
    before = member.rooms.get(entry.room)
    if before is None and len(member.rooms) >= settings.ROOMS_MAX_ROOMS:
        ignore(member, "it is in too many rooms", Refusal.CROWDED)
        return False
    known_to_be_open = entry.room in roll(member.worker).open
    if not known_to_be_open and not await _granted(member, Verb.ASK, entry):
        return False
    if not await _hear(member, *entry.addresses):
        return False
    member.rooms[entry.room] = entry
    if not await _granted(member, Verb.JOIN, entry):
        _undo(member, entry, before)
        return False
    member.nickname = nickname
    member.connection.identity = records.identity(nickname)
    roll(member.worker).used.add(entry.room)
    return True


def _entry(member: Member, room: str, nickname: Any, *more_addresses: str) -> Entry:
    key = (member.namespace, room)
    before = member.rooms.get(key)
    return Entry(
        room=key,
        connection=member.connection.id,
        nickname=nickname,
        joined_at=before.joined_at if before else timezone.now(),
        host=member.connection.peer.host,
        addresses=(address(*key), *more_addresses),
    )


def _undo(member: Member, entry: Entry, before: Entry | None) -> None:
    if before is not None:
        member.rooms[entry.room] = before
    else:
        member.rooms.pop(entry.room, None)
        member.worker.hub.unsubscribe(member.connection, *entry.addresses)


async def _granted(member: Member, verb: Verb, entry: Entry) -> bool:
    """Whether a request succeeds; what is refused, or cannot be asked, is counted."""
    try:
        verdict = await records.submit(member.worker, verb, entry)
    except (Overloaded, DatabaseError) as error:
        unavailable(member, error)
        return False
    if verb is not Verb.LEAVE:
        roll(member.worker).know(entry.room, entry.room in verdict.restricted)
    if entry in verdict.refused:
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


async def leave_room(member: Member, room: str) -> bool:
    """Take a client out of a room; True when that is committed, also when it was not in."""
    entry = member.rooms.pop((member.namespace, room), None)
    if entry is None:
        return True
    member.worker.hub.unsubscribe(member.connection, *entry.addresses)
    return await _granted(member, Verb.LEAVE, entry)


def unavailable(member: Member, error: Exception) -> None:
    """The database does not serve a client: it gets no ack, or no handshake, and may try again."""
    metrics.REFUSED.labels(LINE, Refusal.UNAVAILABLE).inc()
    logger.warning("/%s: the database does not answer: %s", member.namespace, type(error).__name__)
    if member.connection.outbox.corked:
        member.connection.close(UNAVAILABLE)
