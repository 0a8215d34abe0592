"""The rules of `/layout`, `/bus` and `/trigger`, and what every namespace does alike.

Events of one client are taken one after the other; an ack goes out after the commit that it speaks of. Events
that the original ignores are ignored, counted, and logged without their content.
"""

from __future__ import annotations

from typing import Any, Final

from django.db import Error as DatabaseError

from routing_app.core.codes import FORBIDDEN, Refusal
from routing_app.core.delivery.publication import MESSAGE, Publication
from routing_app.rooms import lobby, records, wire
from routing_app.rooms.access import NOT_COVERED, may_enter, permits
from routing_app.rooms.decisions import decided
from routing_app.rooms.members import Ack, Member, RoomKey, members_of
from routing_app.rooms.membership import ignore, is_over_limit, join, leave_room, publish, refuse, unavailable
from routing_app.rooms.models import address

UNKNOWN: Final = "unknown"
"""Sender of a NOTIFY whose socket has no nickname."""


async def enter(member: Member) -> None:
    """A client has connected to a namespace."""
    members_of(member.worker).add(member)
    member.recorded = member.worker.presence.arrive(member.connection)


def leave(member: Member) -> None:
    """A client has gone. Its rows go with the row of its connection."""
    members_of(member.worker).drop(member)
    if member.namespace == wire.LOBBY:
        lobby.gone(member)


def grant_changed(member: Member) -> None:
    """The credential of a client allows other rooms than before: one that is in another is sent away."""
    if not all(may_enter(member, room) for _, room in member.rooms):
        member.connection.close(FORBIDDEN)


async def take(member: Member, name: Any, arguments: list[Any], ack: Ack, binary: bool = False) -> None:
    """One event of a client; `binary` says that there are buffers in it, as Base64."""
    if (event := _understood(member, name, arguments)) is None or await is_over_limit(member, event):
        return
    hooked = member.hooked
    if (hooked.subscribe or hooked.publish) is not None and (
        event := await decided(member, name, event)
    ) is None:
        return
    if member.namespace == wire.LOBBY:
        await lobby.take(member, event, ack, binary)
    elif isinstance(event, wire.Join):
        if (start := await join(member, event.room, event.name, last=event.last)) is not None:
            ack()
            start()
    elif isinstance(event, wire.Leave):
        if await leave_room(member, event.room):
            ack()
    elif isinstance(event, wire.Clients):
        await _clients(member, event)
    elif isinstance(event, wire.Notify):  # to the others in the room; the sender need not be a member
        key = (member.namespace, event.room)
        members_of(member.worker).used.add(key)
        await publish(member, _publication(member, event, key), binary)


def _understood(member: Member, name: Any, arguments: list[Any]) -> wire.Event | None:
    """The event, if it is one and its client may send it; else it is counted, and refused or ignored."""
    try:
        event = wire.parse(member.namespace, name, arguments)
    except wire.JoinRefused as refused:
        refuse(member, name, str(refused))
        return None
    except wire.IgnoredEvent as ignored:
        ignore(member, str(ignored))
        return None
    if member.bounded and not permits(member, event):
        refuse(member, name, NOT_COVERED, Refusal.FORBIDDEN)
        return None
    return event


async def _clients(member: Member, event: wire.Clients) -> None:
    key = (member.namespace, event.room)
    try:
        names = await records.nicknames(key)
    except DatabaseError as error:
        unavailable(member, error)
        return
    member.emit("CLIENTS", {"room": event.room, "clients": names})


def _publication(member: Member, event: wire.Notify, key: RoomKey) -> Publication:
    """A usual EVENT travels as a message of a sender, so that every protocol can read it."""
    to, exclude = (address(*key),), member.connection.id
    if event.event != "EVENT":
        return Publication(to, [event.message], event.event, exclude=exclude)
    # A publication's sender is a string and its room stands in the address. A nickname of another type, or a
    # room that came as a number, would be lost: then the event travels as it is, for this protocol alone.
    sender = UNKNOWN if member.nickname is None else member.nickname
    if event.fields is None and isinstance(sender, str):
        return Publication(to, event.message, MESSAGE, sender, exclude)
    fields = {"room": event.room, "message": event.message} if event.fields is None else event.fields
    return Publication(to, [{"sender": sender, **fields}], "EVENT", exclude=exclude)


def forget_room(member: Member, key: RoomKey) -> None:
    """Take a client out of a room that was deleted."""
    if (entry := member.rooms.pop(key, None)) is not None:
        member.worker.hub.unsubscribe(member.connection, *entry.addresses)
        member.worker.presence.change(member.connection)
        if key[0] == wire.LOBBY:
            lobby.forget(member, key[1])
