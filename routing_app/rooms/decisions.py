"""Events as the backend lets them pass, where a hook asks one.

It is asked about the address of the room: `subscribe` to enter a room that the client is not in, and to read
its members; `publish` to send to it. A lobby's own events are about the lobby that the client is in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from routing_app.core.codes import Close, Refusal
from routing_app.core.hooks.arriving import HookRefused
from routing_app.core.hooks.question import UNCHANGED, Verdict, asked_by
from routing_app.core.hooks.refusing import is_sent_away, refusal_of
from routing_app.core.hooks.table import HookSet
from routing_app.rooms import binary, wire
from routing_app.rooms.access import NOT_COVERED, permits
from routing_app.rooms.members import Member
from routing_app.rooms.membership import ignore, refuse
from routing_app.rooms.models import address

REFUSED: Final = "the backend refuses it"
NO_ANSWER: Final = "the backend that decides gave no valid answer; try again"


async def decided(member: Member, name: Any, event: wire.Event) -> wire.Event | None:
    """The event, with another message where the backend gives one; None where it is refused, and the client
    told so.
    """
    if (verdict := await _verdict(member, event)) is None:
        return event
    if not verdict.allow:
        refuse(member, name, sentence(verdict), refusal_of(verdict))
        return None
    # A message of a client that has left meanwhile goes out, but it has nothing to enter a room for.
    is_publish = isinstance(event, wire.Notify | wire.NotifyEvent | wire.Signal)
    if is_sent_away(member.connection) or (member.connection.is_lost and not is_publish):
        ignore(member, "its connection has ended meanwhile", Refusal.FORBIDDEN)
        return None
    if member.bounded and not permits(member, event):  # any longer
        refuse(member, name, NOT_COVERED, Refusal.FORBIDDEN)
        return None
    return event if verdict.message is UNCHANGED else _with(event, verdict.message)


async def kept_out(member: Member, lobby: str) -> Close | None:
    """The close of a client that the backend keeps out of the lobby that it named as it connected."""
    verdict = await _verdict(member, wire.Join(lobby))
    if verdict is None or verdict.allow:
        return None
    refused = HookRefused(verdict)
    if not member.connection.outbox.corked:  # else the handshake is refused, and that is counted
        ignore(member, "the backend keeps it out of the lobby", refused.reason)
    return refused.close


async def _verdict(member: Member, event: wire.Event) -> Verdict | None:
    """The verdict on an event; None where no hook concerns it."""
    hooks, room = _step(member, event)
    if hooks is None or not hooks.concerns(to := address(member.namespace, room)):
        return None
    return await member.worker.hooks.ask(hooks, asked_by(member.connection, to, _message(event)))


def sentence(verdict: Verdict) -> str:
    """The reason of a refusal, for the client."""
    return NO_ANSWER if verdict.unavailable else verdict.reason or REFUSED


def _step(member: Member, event: wire.Event) -> tuple[HookSet | None, str]:
    """The hooks that an event concerns, and its room."""
    inside = [name for _, name in member.rooms]
    match event:
        case wire.Join(room) | wire.Clients(room):
            # In a lobby, a second JOIN has no effect, whatever it names.
            is_in = room in inside or (member.namespace == wire.LOBBY and bool(inside))
            return None if is_in else member.hooked.subscribe, room
        case wire.Notify(room):
            return member.hooked.publish, room
        case wire.NotifyEvent() | wire.Signal() if inside:
            return member.hooked.publish, inside[0]
    return None, ""


def _message(event: wire.Event) -> Any:
    match event:
        case wire.Notify() | wire.NotifyEvent():
            return event.message
        case wire.Signal():
            return event.data
    return None


def _with(event: wire.Event, message: Any) -> wire.Event:
    """The event with another message; what was binary data in the one before is so where it still stands."""
    message = binary.carried_over(_message(event), message)
    match event:
        case wire.Notify() if event.fields is not None:
            return replace(event, message=message, fields={**event.fields, "message": message})
        case wire.Notify() | wire.NotifyEvent():
            return replace(event, message=message)
        case wire.Signal():
            return replace(event, data=message)
    return event
