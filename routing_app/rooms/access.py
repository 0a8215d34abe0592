"""Access to rooms: the members that a room takes, the rooms that a client may be in, and posts to `/bus`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from hmac import compare_digest
from typing import Final

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from routing_app.core.access import credentials
from routing_app.core.access.admission import Refused
from routing_app.core.access.bearer import presented_key
from routing_app.core.access.credentials import Presented
from routing_app.core.access.grants import Grant
from routing_app.core.codes import Advice, Refusal
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import current_worker
from routing_app.rooms import wire
from routing_app.rooms.members import Member, MembershipEntry, RoomKey
from routing_app.rooms.models import Membership, Room, address

NOT_COVERED: Final = "the credential does not cover this room"


def may_join_another(member: Member) -> bool:
    """True when a client is in fewer rooms than ROOMS_MAX_ROOMS."""
    return len(member.rooms) < int(settings.ROOMS_MAX_ROOMS)


def permits(member: Member, event: wire.Event) -> bool:
    """True when the credential of a client covers the room that an event is about.

    To enter a room and to ask for its members needs `subscribe` on it, to send to it `publish`; a lobby's own
    events are about the lobby that the client is in. A client may leave every room.
    """
    grant, namespace = member.connection.grant, member.namespace
    match event:
        case wire.Join(room) | wire.Clients(room):
            return grant.may_subscribe(address(namespace, room))
        case wire.Notify(room):
            return grant.may_publish(address(namespace, room))
        case wire.NotifyEvent() | wire.Signal():
            return all(grant.may_publish(address(*key)) for key in member.rooms)
    return True


def may_enter(member: Member, room: str) -> bool:
    """True when the client may be in a room that it has not named by JOIN, but when it connected."""
    return not member.bounded or permits(member, wire.Join(room))


class PostDenied(Exception):
    """A post to `/bus-message/` is refused with a status of HTTP; `reason` is for its client."""

    def __init__(self, status: int, reason: str = "", refusal: Refusal | None = None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.reason = reason
        self.refusal = refusal
        """As it is counted, where the status does not say so."""


def check_post(request: HttpRequest, to: str) -> str:
    """Let a request to `/bus-message/` pass that has ROOMS_BUS_TOKEN, where one is set; its identity.

    Where clients need a credential, one that covers the room is as good, and there is no way without either.
    Raises PostDenied.
    """
    wanted: str = settings.ROOMS_BUS_TOKEN
    if wanted and compare_digest(presented_key(request).encode(), wanted.encode()):
        return ""
    bounded = credentials.needs_credential("rooms")
    if not bounded and not wanted:
        return ""
    presented = credentials.of_scope(request.scope) if isinstance(request, ASGIRequest) else None
    if not bounded or presented is None:
        raise PostDenied(401)
    try:
        grant = from_sync(_verify)(presented)
    except Refused as refused:
        raise PostDenied(401 if refused.close.advice is Advice.STAY_AWAY else refused.close.status) from None
    if not grant.may_publish(to):
        raise PostDenied(403)
    return grant.identity


async def _verify(presented: Presented) -> Grant:
    return await credentials.verify(current_worker(), "rooms", presented)


def kept_out(entries: Iterable[MembershipEntry], rooms: dict[RoomKey, Room]) -> frozenset[MembershipEntry]:
    """Entries that a room's allow-list or limit does not take. Uses the ORM, within a transaction."""
    by_room: dict[RoomKey, list[MembershipEntry]] = defaultdict(list)
    for entry in entries:
        room = rooms.get(entry.room)
        if room is not None and room.restricted:
            by_room[entry.room].append(entry)
    out: set[MembershipEntry] = set()
    for key, candidates in by_room.items():
        allowed = [entry for entry in candidates if _is_on_the_list(rooms[key], entry)]
        out.update(set(candidates).difference(allowed), _beyond_the_limit(rooms[key], allowed))
    return frozenset(out)


def _is_on_the_list(room: Room, entry: MembershipEntry) -> bool:
    """By nickname, which may be any JSON value, or by network address; an empty list takes everybody."""
    nickname = entry.nickname if isinstance(entry.nickname, str) else ""
    return not room.allowed or not {nickname, entry.host}.isdisjoint(room.allowed)


def _beyond_the_limit(room: Room, entries: Iterable[MembershipEntry]) -> set[MembershipEntry]:
    """Entries above the room's limit; a connection that is in the room already keeps its place."""
    if room.member_limit is None:
        return set()
    # Two workers would both see the last place free: the lock makes them count one after the other.
    Room.objects.select_for_update().get(pk=room.pk)
    present = Membership.objects.present().filter(room__namespace=room.namespace, room__name=room.name)
    inside = set(present.values_list("connection_id", flat=True))
    out = set()
    for entry in entries:
        if entry.connection in inside:
            continue
        if len(inside) < room.member_limit:
            inside.add(entry.connection)
        else:
            out.add(entry)
    return out
