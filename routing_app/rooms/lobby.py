"""The rules of `/lobby`, repaired: JOINED, PEERS, LEFT, MESSAGE, RTCSIGNAL.

The published service crashes on every lobby connection; what it means to do stands in its `src/lobby.js`.
A member is known to its peers by its socket id, and is in one lobby at a time.
"""

from __future__ import annotations

from typing import Any

from django.db import Error as DatabaseError

from routing_app.core.codes import FORBIDDEN, POLICY
from routing_app.core.publication import Publication
from routing_app.rooms import records, wire
from routing_app.rooms.member import Ack, Member
from routing_app.rooms.membership import ignore, join, leave_room, unavailable
from routing_app.rooms.models import address


def peer_address(lobby: str, id: str) -> str:
    """What one member of a lobby hears alone. The length keeps lobbies and ids with slashes apart."""
    return f"peer:{len(lobby)}:{lobby}/{id}"


def current(member: Member) -> str | None:
    """The lobby that a member is in."""
    return next((name for _, name in member.rooms), None)


async def connected(member: Member, lobby_id: Any) -> None:
    """Join the lobby that the client named when it connected; without one it is sent away."""
    try:
        lobby = wire.room_name(lobby_id)
    except wire.Ignored as ignored:
        ignore(member, str(ignored))
        member.connection.close(POLICY)
        return
    if not await _join(member, lobby):
        member.connection.close(FORBIDDEN)
        return
    try:
        ids = await records.nicknames((wire.LOBBY, lobby))
    except DatabaseError as error:
        unavailable(member, error)
        return
    member.emit("PEERS", [id for id in ids if id != member.id])


async def take(member: Member, event: wire.Event, ack: Ack) -> None:
    """One event of a client."""
    if isinstance(event, wire.Join):
        if current(member) is not None or await _join(member, event.room):
            ack()
    elif isinstance(event, wire.Leave):
        await _leave(member, event.room, ack)
    elif isinstance(event, wire.Broadcast):
        await _broadcast(member, event)
    elif isinstance(event, wire.Signal):
        await _signal(member, event)


def gone(member: Member) -> None:
    """The client has gone: tell the members who remain."""
    lobby = current(member)
    if lobby is not None:
        member.rooms.clear()
        member.worker.spawn(member.worker.hub.publish(_left(member, lobby)))


async def _join(member: Member, lobby: str) -> bool:
    """Everybody in the lobby hears JOINED, the one who joins as well."""
    if not await join(member, lobby, member.id, peer_address(lobby, member.id)):
        return False
    to = address(wire.LOBBY, lobby)
    await member.worker.hub.publish(Publication((to,), [member.id], "JOINED"))
    return True


async def _leave(member: Member, lobby: str, ack: Ack) -> None:
    inside = current(member) == lobby
    if await leave_room(member, lobby):
        if inside:
            await member.worker.hub.publish(_left(member, lobby))
        ack()


def _left(member: Member, lobby: str) -> Publication:
    return Publication((address(wire.LOBBY, lobby),), [member.id], "LEFT")


async def _broadcast(member: Member, event: wire.Broadcast) -> None:
    """To the whole lobby, the sender included."""
    lobby = current(member)
    if lobby is None:
        ignore(member, "not in a lobby")
        return
    message = {"from": member.id, "message": event.message}
    await member.worker.hub.publish(Publication((address(wire.LOBBY, lobby),), [message], "MESSAGE"))


async def _signal(member: Member, event: wire.Signal) -> None:
    """Unchanged to one member of the lobby, or to all others of it; nobody else can be reached."""
    lobby = current(member)
    if lobby is None:
        ignore(member, "not in a lobby")
        return
    to = address(wire.LOBBY, lobby) if event.to == lobby else peer_address(lobby, event.to)
    publication = Publication((to,), [event.data], "RTCSIGNAL", exclude=member.connection.id)
    await member.worker.hub.publish(publication)
