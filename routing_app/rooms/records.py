"""Rows of rooms and memberships: the writes of the writing thread, for many sockets at once, and the
queries."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final

from django.db.models import Q
from django.db.models.functions import Now

from routing_app.core import database
from routing_app.core.leases import rows
from routing_app.core.leases.reports import Listed
from routing_app.core.models import ConnectionRecord
from routing_app.core.worker import Worker
from routing_app.rooms.access import kept_out
from routing_app.rooms.members import MembershipEntry, RoomKey
from routing_app.rooms.models import Membership, Room

CHUNK: Final = 200
"""Rooms or rows in one statement."""


class Verb(Enum):
    """A question to the rows."""

    ASK = "ask"
    """Ask if a room would take a member; nothing is written."""
    JOIN = "join"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a transaction, by entry."""

    refused: frozenset[MembershipEntry]
    restricted: frozenset[RoomKey]
    """Rooms that do not take everybody."""
    unrecorded: frozenset[MembershipEntry] = frozenset()
    """Entries that were not written, since their connection has no row of its own."""


Request = tuple[Verb, MembershipEntry]


def submit(worker: Worker, verb: Verb, entry: MembershipEntry) -> asyncio.Future[Verdict]:
    """Have a request done, together with those of other connections; resolves after the commit.

    A connection has one request under way at a time: within a transaction their order does not count.
    Raises Overloaded when too much waits for the database.
    """
    return worker.writes.submit_item(_apply, (verb, entry))


def restore(worker: Worker, entries: Sequence[MembershipEntry]) -> asyncio.Future[None]:
    """Write memberships again that had been granted, without asking limits a second time."""

    def write_again() -> None:
        write(entries, rooms_of(entries))

    return worker.writes.submit(write_again)


async def nicknames(room: RoomKey) -> list[Any]:
    """Nicknames in a room, in the order in which members joined, over all workers."""
    present = Membership.objects.present().filter(room__namespace=room[0], room__name=room[1])
    return await database.query(lambda: list(present.values_list("nickname", flat=True)))


async def touch(worker: Worker, rooms: Iterable[RoomKey]) -> None:
    """Note that rooms are in use."""
    keys = list(rooms)

    def write_now() -> None:
        for start in range(0, len(keys), CHUNK):
            Room.objects.filter(_any_of(keys[start : start + CHUNK])).update(last_used_at=Now())

    await worker.writes.submit(write_now)


async def forget_unused(worker: Worker, seconds: float) -> int:
    """Delete rooms without a description and members, unused for so long; returns their number."""

    def delete() -> int:
        before = Now() - timedelta(seconds=seconds)
        unused = Room.objects.plain().filter(memberships=None, last_used_at__lt=before)
        return unused.delete()[1].get("rooms.Room", 0)

    return await worker.writes.submit(delete)


def _apply(requests: list[Request]) -> Verdict:
    by_verb: dict[Verb, list[MembershipEntry]] = defaultdict(list)
    for verb, entry in requests:
        by_verb[verb].append(entry)
    # Leavers first: their places in a room with a limit are free for those who join in the same transaction.
    remove(by_verb[Verb.LEAVE])
    rooms = rooms_of(by_verb[Verb.JOIN])
    rooms |= find(sorted({entry.room for entry in by_verb[Verb.ASK]} - rooms.keys()))
    refused = kept_out(by_verb[Verb.ASK], rooms) | kept_out(by_verb[Verb.JOIN], rooms)
    unrecorded = write([entry for entry in by_verb[Verb.JOIN] if entry not in refused], rooms)
    return Verdict(refused, frozenset(key for key, room in rooms.items() if room.restricted), unrecorded)


def remove(entries: Sequence[MembershipEntry]) -> None:
    """Delete memberships, and the subscriptions that they gave."""
    if not entries:
        return
    members = Membership.objects.filter(connection_id__in={entry.connection for entry in entries})
    pairs = {(*entry.room, entry.connection) for entry in entries}
    found = members.values_list("pk", "room__namespace", "room__name", "connection_id")
    Membership.objects.filter(pk__in=[pk for pk, *pair in found if tuple(pair) in pairs]).delete()
    rows.unsubscribe((entry.connection, address) for entry in entries for address in entry.addresses)


def rooms_of(entries: Iterable[MembershipEntry]) -> dict[RoomKey, Room]:
    """The rooms of entries; those that do not exist yet are made."""
    # Sorted: two workers that insert the same rooms in different orders would wait for each other.
    keys = sorted({entry.room for entry in entries})
    rooms = find(keys)
    missing = [Room(namespace=key[0], name=key[1]) for key in keys if key not in rooms]
    if missing:
        # Another worker may make the same room in between. A conflict is ignored, but leaves the row here
        # without a key, so the rooms are read again.
        Room.objects.bulk_create(missing, CHUNK, ignore_conflicts=True)
        rooms |= find([(room.namespace, room.name) for room in missing])
    return rooms


def find(keys: Sequence[RoomKey]) -> dict[RoomKey, Room]:
    """The rooms that exist."""
    return {
        (room.namespace, room.name): room
        for start in range(0, len(keys), CHUNK)
        for room in Room.objects.filter(_any_of(keys[start : start + CHUNK]))
    }


def _any_of(keys: Iterable[RoomKey]) -> Q:
    names: dict[str, list[str]] = defaultdict(list)
    for namespace, name in keys:
        names[namespace].append(name)
    condition = Q(pk__in=[])
    for namespace, of_it in names.items():
        condition |= Q(namespace=namespace, name__in=of_it)
    return condition


def write(entries: Sequence[MembershipEntry], rooms: dict[RoomKey, Room]) -> frozenset[MembershipEntry]:
    """Insert memberships; a second JOIN brings the nickname up to date.

    Those of connections without a row of their own are left out, and returned.
    """
    if not entries:
        return frozenset()
    recorded = ConnectionRecord.objects.in_bulk({entry.connection for entry in entries})
    present = [entry for entry in entries if entry.connection in recorded]
    memberships = [
        Membership(
            room=rooms[entry.room],
            connection_id=entry.connection,
            nickname=entry.nickname,
            joined_at=entry.joined_at,
        )
        for entry in present
    ]
    Membership.objects.bulk_create(
        memberships,
        CHUNK,
        update_conflicts=True,
        unique_fields=["room", "connection"],
        update_fields=["nickname"],
    )
    _rename({entry.connection: entry.nickname for entry in present}, recorded)
    listed = {id: Listed.of(record) for id, record in recorded.items()}
    rows.subscribe([(e.connection, address) for e in present for address in e.addresses], listed)
    return frozenset(entries) - frozenset(present)


def _rename(nicknames: dict[str, Any], recorded: dict[str, ConnectionRecord]) -> None:
    """Give sockets their last nickname in all their rooms: a nickname belongs to the socket."""
    changed = {
        id: identity(name) for id, name in nicknames.items() if recorded[id].identity != identity(name)
    }
    if not changed:
        return
    for id, text in changed.items():
        recorded[id].identity = text
    ConnectionRecord.objects.bulk_update([recorded[id] for id in changed], ["identity"], CHUNK)
    others = Membership.objects.filter(connection_id__in=list(changed))
    stale = [row for row in others if row.nickname != nicknames[row.connection_id]]
    for row in stale:
        row.nickname = nicknames[row.connection_id]
    Membership.objects.bulk_update(stale, ["nickname"], CHUNK)


def identity(nickname: Any) -> str:
    """A nickname as listings of connections show it."""
    return ("" if nickname is None else nickname if isinstance(nickname, str) else str(nickname))[:255]
