"""Access to rooms: the members that a room takes, the rooms that a client may be in, and posts to `/bus`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from hmac import compare_digest

from django.conf import settings
from django.http import HttpRequest

from routing_app.core.access.bearer import presented_key
from routing_app.rooms.members import Member, MembershipEntry, RoomKey
from routing_app.rooms.models import Membership, Room


def may_join_another(member: Member) -> bool:
    """True when a client is in fewer rooms than ROOMS_MAX_ROOMS."""
    return len(member.rooms) < int(settings.ROOMS_MAX_ROOMS)


def may_post(request: HttpRequest) -> bool:
    """True when a request to `/bus-message/` has ROOMS_BUS_TOKEN, where one is set."""
    wanted: str = settings.ROOMS_BUS_TOKEN
    return not wanted or compare_digest(presented_key(request).encode(), wanted.encode())


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
