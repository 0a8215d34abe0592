"""The rules of `/lobby`, repaired: JOINED, PEERS, LEFT, MESSAGE, RTCSIGNAL.

The published service crashes on every lobby connection; what it means to do stands in its `src/lobby.js`.
A member is known to its peers by its socket id, and is in one lobby at a time.
"""

from __future__ import annotations

from typing import Any

from django.db import OperationalError

from routing_app.core.codes import FORBIDDEN, LIMITED, POLICY, Refusal
from routing_app.core.delivery.connection import ConnectionState
from routing_app.core.delivery.publication import Publication
from routing_app.rooms import wire
from routing_app.rooms.access import may_enter
from routing_app.rooms.decisions import kept_out
from routing_app.rooms.lobbies import lobbies_of
from routing_app.rooms.lobby_changes import ChangeKind
from routing_app.rooms.lobby_replica import LocalMember
from routing_app.rooms.members import Ack, Member
from routing_app.rooms.membership import ignore, join, leave_room, publish, unavailable
from routing_app.rooms.models import address


def peer_address(lobby: str, id: str) -> str:
    """The address of one member of a lobby. The length keeps lobbies and ids with slashes apart."""
    return f"peer:{len(lobby)}:{lobby}/{id}"


def current(member: Member) -> str | None:
    """The lobby that a member is in."""
    return next((name for _, name in member.rooms), None)


async def connected(member: Member, lobby_id: Any) -> None:
    """Join the lobby that the client named when it connected; without one it is sent away."""
    try:
        lobby = wire.room_name(lobby_id)
    except wire.IgnoredEvent as ignored:
        ignore(member, str(ignored))
        member.connection.close(POLICY)
        return
    if not may_enter(member, lobby):
        if not member.connection.outbox.corked:  # else the handshake is refused, and that is counted
            ignore(member, "the credential does not cover this lobby", Refusal.FORBIDDEN)
        member.connection.close(FORBIDDEN)
        return
    subscribe = member.limited.subscribe
    if subscribe is not None and await member.worker.rate_limits.over(subscribe, member.connection):
        member.connection.close(LIMITED)
        return
    if (close := await kept_out(member, lobby)) is not None:
        member.connection.close(close)
        return
    if not await _join(member, lobby, peers=True):
        member.connection.close(FORBIDDEN)


async def take(member: Member, event: wire.Event, ack: Ack, binary: bool) -> None:
    """One event of a client, with buffers in it or not."""
    if isinstance(event, wire.Join):
        if current(member) is not None or await _join(member, event.room):
            ack()
    elif isinstance(event, wire.Leave):
        await _leave(member, event.room, ack)
    elif isinstance(event, wire.NotifyEvent):
        await _broadcast(member, event, binary)
    elif isinstance(event, wire.Signal):
        await _signal(member, event, binary)


def gone(member: Member) -> None:
    """End the membership of a client that has gone; the others are told once its row has, too."""
    entries = list(member.rooms.values())
    member.rooms.clear()
    for entry in entries:
        # It is told nothing more from here on; the others are told after the commit.
        lobbies = lobbies_of(member.worker)
        lobbies.leave(entry.room[1], member.id)
        lobbies.submit(ChangeKind.LEAVE, entry)


def forget(member: Member, lobby: str) -> None:
    """The lobby was deleted: the client is told nothing more of it."""
    lobbies_of(member.worker).leave(lobby, member.id)


async def _join(member: Member, lobby: str, peers: bool = False) -> bool:
    """All members of the lobby receive JOINED, the new one as well; PEERS follows where it is wanted."""
    lobbies = lobbies_of(member.worker)
    local = LocalMember(member.id, member.emit, peers, lambda: _return(member, lobby))
    # Before the row is written: its own JOINED, which takes it in, may come before `join` returns.
    lobbies.expect(lobby, local)
    is_in = False
    try:
        if (start := await join(member, lobby, member.id, peer_address(lobby, member.id))) is not None:
            start()
            is_in = await lobbies.admitted(local)
            if not is_in and member.connection.state is ConnectionState.OPEN:
                unavailable(member, OperationalError("the lobby cannot be read"))
    finally:
        if not is_in:  # also when it is cancelled: nobody else takes back what is expected
            lobbies.leave(lobby, member.id)
    return is_in


def _return(member: Member, lobby: str) -> None:
    """Bring a member back that has not left: its row was lost, or its worker was taken for dead."""
    if (entry := member.rooms.get((wire.LOBBY, lobby))) is not None:
        lobbies_of(member.worker).restore([entry])


async def _leave(member: Member, lobby: str, ack: Ack) -> None:
    if current(member) == lobby:
        lobbies_of(member.worker).leave(lobby, member.id)
    if await leave_room(member, lobby):
        ack()


async def _broadcast(member: Member, event: wire.NotifyEvent, binary: bool) -> None:
    """Send to the whole lobby, the sender included."""
    lobby = current(member)
    if lobby is None:
        ignore(member, "not in a lobby")
        return
    message = {"from": member.id, "message": event.message}
    await publish(member, Publication((address(wire.LOBBY, lobby),), [message], "MESSAGE"), binary)


async def _signal(member: Member, event: wire.Signal, binary: bool) -> None:
    """Pass a signal unchanged to one member of the lobby, or to all others; nobody else can be reached."""
    lobby = current(member)
    if lobby is None:
        ignore(member, "not in a lobby")
        return
    to = address(wire.LOBBY, lobby) if event.to == lobby else peer_address(lobby, event.to)
    publication = Publication((to,), [event.data], "RTCSIGNAL", exclude=member.connection.id)
    await publish(member, publication, binary)
