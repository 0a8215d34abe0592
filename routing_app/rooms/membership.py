"""Membership of rooms: rows first, then the hub, then the client is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from django.db import Error as DatabaseError
from django.db import OperationalError
from django.utils import timezone

from routing_app.core import metrics
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import UNAVAILABLE, Refusal
from routing_app.core.database import Overloaded
from routing_app.core.delivery.connection import ConnectionState
from routing_app.core.delivery.publication import Publication
from routing_app.core.streams.store import StoreUnavailable
from routing_app.rooms import records, wire
from routing_app.rooms.access import NOT_COVERED, may_enter, may_join_another
from routing_app.rooms.binary import paths
from routing_app.rooms.lobbies import lobbies_of
from routing_app.rooms.lobby_changes import ChangeKind, ChangeOutcome
from routing_app.rooms.members import Member, MembershipEntry, members_of
from routing_app.rooms.models import address
from routing_app.rooms.records import Verb, Verdict

logger = logging.getLogger(__name__)

PROTOCOL: Final = "rooms"


def ignore(member: Member, reason: str, refusal: Refusal = Refusal.MALFORMED) -> None:
    """Count and log an event that has no effect."""
    metrics.REFUSED.labels(PROTOCOL, refusal).inc()
    logger.info("/%s: an event of %s is ignored: %s", member.namespace, member.connection.id, reason)


def refuse(member: Member, name: Any, reason: str, refusal: Refusal = Refusal.MALFORMED) -> None:
    """Tell a client that its event has no effect, where the original would have done what it asks for.

    One that is not accepted yet sees that its handshake is refused.
    """
    ignore(member, reason, refusal)
    if not member.connection.outbox.corked:
        member.emit("ERROR", {"event": name, "reason": reason})


async def is_over_limit(member: Member, event: wire.Event) -> bool:
    """Count an event that joins a room or publishes: True beyond a limit, which a JOIN is told."""
    joins = isinstance(event, wire.Join)
    limits = member.limited.subscribe if joins else member.limited.publish
    if limits is None or not (joins or isinstance(event, wire.Notify | wire.NotifyEvent | wire.Signal)):
        return False
    excess = await member.worker.rate_limits.over(limits, member.connection)
    if excess is None:
        return False
    if joins and member.connection.state is ConnectionState.OPEN:
        reason = f"too many, try again in {excess.seconds:.1f} s"
        member.emit("ERROR", {"event": "JOIN", "reason": reason})
    return True


async def join(
    member: Member, room: str, nickname: Any, *more_addresses: str, last: int = 0
) -> Callable[[], None] | None:
    """Let a client into a room, once its row is committed; None when it is not in the room after this.

    The function that is returned has to be called once the client knows: the `last` events of before follow.

    It is subscribed before its row can be seen: a client that finds it in CLIENTS can reach it. So a room
    that may refuse it is asked before. A second JOIN only changes the nickname.
    """
    entry = _entry(member, room, nickname, *more_addresses)
    before = member.rooms.get(entry.room)
    if before is None and not may_join_another(member):
        refuse(member, "JOIN", "in too many rooms", Refusal.CROWDED)
        return None
    # A client must receive nothing of a room that does not take it, not even between its subscription and the
    # refusal of its row. So a room with limits is asked first; the row is still what decides, since the last
    # place may be gone by then.
    known_to_be_open = entry.room in members_of(member.worker).open
    if not known_to_be_open and not await _granted(member, Verb.ASK, entry):
        return None
    if not _is_covered(member, room):
        return None
    # Before the subscription: presence notices tell of that at once, with the identity.
    identity, member.connection.identity = member.connection.identity, records.identity(nickname)
    if (start := await _subscribe(member, entry.addresses, last)) is None:
        member.connection.identity = identity
        return None
    member.rooms[entry.room] = entry  # before the row is written: a client that goes now takes it along
    try:
        # From here on a credential that changes finds the room among those of the client.
        is_in = _is_covered(member, room) and await _granted(member, Verb.JOIN, entry)
    except BaseException:
        start()
        raise
    if not is_in:
        member.connection.identity = identity
        _take_back(member, entry, before)
        start()
        return None
    member.nickname = nickname
    if member.namespace != wire.LOBBY:  # a lobby's changes say so themselves
        members_of(member.worker).used.add(entry.room)
    return start


def _is_covered(member: Member, room: str) -> bool:
    """Look again at a credential that may have changed while something was waited for; the client is told."""
    if may_enter(member, room):
        return True
    refuse(member, "JOIN", NOT_COVERED, Refusal.FORBIDDEN)
    return False


def _take_back(member: Member, entry: MembershipEntry, before: MembershipEntry | None) -> None:
    """Have a client in its rooms as before a JOIN; one that has gone takes the entry along."""
    if member.connection.state is not ConnectionState.OPEN:
        return
    if before is not None:
        member.rooms[entry.room] = before
    else:
        member.rooms.pop(entry.room, None)
        member.worker.hub.unsubscribe(member.connection, *entry.addresses)


def _entry(member: Member, room: str, nickname: Any, *more_addresses: str) -> MembershipEntry:
    key = (member.namespace, room)
    before = member.rooms.get(key)
    return MembershipEntry(
        room=key,
        connection=member.connection.id,
        nickname=nickname,
        joined_at=before.joined_at if before else timezone.now(),
        host=member.connection.peer.host,
        addresses=(address(*key), *more_addresses),
    )


async def _granted(member: Member, verb: Verb, entry: MembershipEntry) -> bool:
    """True when a request succeeds. Else the client was told, or, if the database is out, sent away."""
    try:
        verdict = await (_write(member, entry) if verb is Verb.JOIN else _submit(member, verb, entry))
    except (Overloaded, DatabaseError) as error:
        unavailable(member, error)
        return False
    if verb is not Verb.LEAVE:
        members_of(member.worker).know(entry.room, entry.room in verdict.restricted)
    if entry in verdict.refused:
        refuse(member, "JOIN", "the room is full, or not for this client", Refusal.FORBIDDEN)
        return False
    return entry not in verdict.unrecorded


async def _write(member: Member, entry: MembershipEntry) -> Verdict:
    """Write the row of a JOIN, after the connection's own: without that nobody would see the membership.

    Raises OperationalError when it cannot be written.
    """
    # The connection's row may have been lost with a batch that failed: it is written once more, then the
    # membership is tried again.
    for _ in range(2):
        if member.recorded is not None:
            await asyncio.wait([member.recorded])
        verdict = await _submit(member, Verb.JOIN, entry)
        if entry not in verdict.unrecorded or member.connection.state is not ConnectionState.OPEN:
            return verdict
        member.recorded = member.worker.presence.arrive(member.connection)
    raise OperationalError("the connection has no row")


def _submit(
    member: Member, verb: Verb, entry: MembershipEntry
) -> asyncio.Future[Verdict] | asyncio.Future[ChangeOutcome]:
    if member.namespace != wire.LOBBY or verb is Verb.ASK:
        return records.submit(member.worker, verb, entry)
    return lobbies_of(member.worker).submit(ChangeKind.JOIN if verb is Verb.JOIN else ChangeKind.LEAVE, entry)


async def _subscribe(member: Member, addresses: tuple[str, ...], last: int) -> Callable[[], None] | None:
    """Subscribe; None when the client has gone, or the channel layer or the store of streams is out.

    The `last` messages of the room follow when the function that is returned is called.
    """
    worker, connection = member.worker, member.connection
    attachment = None
    try:
        attachment = await worker.streams.replays.attach(connection, addresses, last={addresses[0]: last})
    except (LayerUnavailable, StoreUnavailable):
        connection.close(UNAVAILABLE)
    if attachment is not None and connection.state is ConnectionState.OPEN:
        return attachment.start
    # The hub may have forgotten the connection before it was subscribed: nobody else would unsubscribe it.
    worker.hub.unsubscribe(connection, *addresses)
    if attachment is not None:
        attachment.start()
    return None


async def leave_room(member: Member, room: str) -> bool:
    """Take a client out of a room; True when that is committed, also when it was not in."""
    entry = member.rooms.pop((member.namespace, room), None)
    if entry is None:
        return True
    member.worker.hub.unsubscribe(member.connection, *entry.addresses)
    return await _granted(member, Verb.LEAVE, entry)


async def publish(member: Member, publication: Publication, binary: bool) -> None:
    """Publish a message of a client; `binary` says that it may hold Base64."""
    if binary:
        publication = replace(publication, binary=paths(publication.message))
    await member.worker.hub.publish(publication)


def unavailable(member: Member, error: Exception) -> None:
    """Send a client away that the database does not serve: it comes back, and asks again.

    There is no error that every client understands; and a change that was not made, or only perhaps, ends
    with the connection.
    """
    metrics.REFUSED.labels(PROTOCOL, Refusal.UNAVAILABLE).inc()
    logger.warning("/%s: the database does not answer: %s", member.namespace, type(error).__name__)
    member.connection.close(UNAVAILABLE)
