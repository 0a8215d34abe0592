"""Changes of who is in a lobby: each takes the next number of its lobby, in the transaction that makes it.

The lobby's row is locked until the commit. So workers make their changes one after the other, and a reader
that sees a number in the rows sees all changes up to it. Changes have transactions of their own, each of
which locks all its lobbies at once and in one order: otherwise two workers could wait for each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from django.db import OperationalError
from django.db.models import Count
from django.db.models.functions import Now

from routing_app.core import database
from routing_app.rooms import records, wire
from routing_app.rooms.access import kept_out
from routing_app.rooms.lobby_replica import HERE, JOINED, LEFT, Change, Stamp
from routing_app.rooms.members import MembershipEntry, RoomKey
from routing_app.rooms.models import Membership, Room
from routing_app.rooms.records import CHUNK, Verdict

ATTEMPTS: Final = 3
"""A lobby is made again so many times when it is deleted before it can be locked."""


class ChangeKind(Enum):
    """The change that is asked for."""

    JOIN = "join"
    LEAVE = "leave"
    """Also of one that is not in: its row went in another way, and the others still have to be told."""
    RESTORE = "restore"
    """Write a row again that was lost, without asking limits a second time."""
    REAP = "reap"
    """LEAVE on behalf of a worker whose lease has lapsed; nothing happens if it has been renewed."""


Request = tuple[ChangeKind, MembershipEntry]

EVENTS: Final = {
    ChangeKind.JOIN: JOINED,
    ChangeKind.RESTORE: HERE,
    ChangeKind.LEAVE: LEFT,
    ChangeKind.REAP: LEFT,
}


@dataclass(frozen=True, slots=True)
class ChangeOutcome(Verdict):
    """The outcome of a transaction; requests that changed nothing have no change."""

    changes: dict[Request, Change] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """A lobby as its rows are: the last change, how many ids are in, and whose worker's lease has lapsed."""

    stamp: Stamp
    count: int
    lapsed: tuple[MembershipEntry, ...] = ()


def make(requests: Sequence[Request]) -> ChangeOutcome:
    """Make changes, within a transaction. Those of one connection keep their order."""
    rooms = _locked(requests)
    refused: set[MembershipEntry] = set()
    unrecorded: set[MembershipEntry] = set()
    changes: dict[Request, Change] = {}
    for round in _rounds(requests):
        for kind, entries in _by_kind(round):
            if kind in (ChangeKind.LEAVE, ChangeKind.REAP):
                done = _leave(kind, entries, rooms)
            else:
                out = kept_out(entries, rooms) if kind is ChangeKind.JOIN else frozenset()
                lost, done = _join(kind, [entry for entry in entries if entry not in out], rooms)
                refused |= out
                unrecorded |= lost
            for entry in done:
                room = rooms[entry.room]
                room.version += 1
                changes[kind, entry] = Change((room.pk, room.version), EVENTS[kind], entry.nickname)
    changed = list({room.pk: room for room in (rooms[entry.room] for _, entry in changes)}.values())
    for room in changed:
        room.last_used_at = Now()
    Room.objects.bulk_update(changed, ["version", "last_used_at"], CHUNK)
    restricted = frozenset(key for key, room in rooms.items() if room.restricted)
    return ChangeOutcome(frozenset(refused), restricted, frozenset(unrecorded), changes)


async def replica(lobby: str) -> tuple[Stamp, list[str]] | None:
    """The last change of a lobby, and the ids in it as they were then; None when there is no such lobby."""
    return await database.query(_replica, lobby)


async def states(lobbies: Collection[str], here: str) -> dict[str, State]:
    """The state of lobbies now. Leases of workers other than `here`, which is alive, may have lapsed."""
    return await database.query(_states, list(lobbies), here)


def _rounds(requests: Iterable[Request]) -> list[list[Request]]:
    """The first requests of all connections, then their second ones: so bulk statements keep the order."""
    rounds: list[list[Request]] = []
    asked: dict[str, int] = defaultdict(int)
    for request in requests:
        number = asked[request[1].connection]
        asked[request[1].connection] += 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(request)
    return rounds


def _by_kind(requests: Iterable[Request]) -> list[tuple[ChangeKind, list[MembershipEntry]]]:
    """Leavers go first: a client that has come back may have its old id."""
    found: dict[ChangeKind, list[MembershipEntry]] = {
        kind: [] for kind in (ChangeKind.REAP, ChangeKind.LEAVE, ChangeKind.RESTORE, ChangeKind.JOIN)
    }
    for kind, entry in requests:
        found[kind].append(entry)
    return [(kind, entries) for kind, entries in found.items() if entries]


def _locked(requests: Sequence[Request]) -> dict[RoomKey, Room]:
    """The rooms of requests, locked; those to be joined are made where they are missing."""
    joining = [entry for kind, entry in requests if kind in (ChangeKind.JOIN, ChangeKind.RESTORE)]
    joined = {entry.room for entry in joining}
    others = sorted({entry.room for _, entry in requests} - joined)
    for _ in range(ATTEMPTS):
        found = {**records.find(others), **records.rooms_of(joining)}
        # By key, in ascending order, in every worker: so no two of them hold what the other one waits for.
        keys = sorted(room.pk for room in found.values())
        rooms: dict[RoomKey, Room] = {}
        for start in range(0, len(keys), CHUNK):
            # NO KEY UPDATE: a transaction that only inserts a foreign key to a room need not wait.
            locked = Room.objects.select_for_update(no_key=True).filter(pk__in=keys[start : start + CHUNK])
            rooms |= {(room.namespace, room.name): room for room in locked.order_by("pk")}
        if joined <= rooms.keys():  # else an operator has deleted one between the read and the lock
            return rooms
    raise OperationalError("a lobby is deleted as fast as it is made")


def _join(
    kind: ChangeKind, entries: Sequence[MembershipEntry], rooms: dict[RoomKey, Room]
) -> tuple[set[MembershipEntry], list[MembershipEntry]]:
    """Write rows; returns the entries of connections without a row, and those whose membership is new."""
    inside: set[tuple[int, str]] = set()
    if kind is ChangeKind.RESTORE:
        rows = Membership.objects.filter(connection_id__in={entry.connection for entry in entries})
        inside = set(rows.values_list("room_id", "connection_id"))
    lost = records.write(entries, rooms)
    new = [e for e in entries if e not in lost and (rooms[e.room].pk, e.connection) not in inside]
    return set(lost), new


def _leave(
    kind: ChangeKind, entries: Sequence[MembershipEntry], rooms: dict[RoomKey, Room]
) -> list[MembershipEntry]:
    """Delete rows; returns the entries that have left. An id that another connection has taken over has
    not."""
    if kind is ChangeKind.REAP:
        lapsed = Membership.objects.lapsed().filter(connection_id__in={e.connection for e in entries})
        still = set(lapsed.values_list("room_id", "connection_id"))
        entries = [e for e in entries if e.room in rooms and (rooms[e.room].pk, e.connection) in still]
    entries = [entry for entry in entries if entry.room in rooms]
    records.remove(entries)
    rows = Membership.objects.filter(room__in={rooms[entry.room].pk for entry in entries})
    taken = set(
        rows.filter(nickname__in=[entry.nickname for entry in entries]).values_list("room_id", "nickname")
    )
    return [entry for entry in entries if (rooms[entry.room].pk, entry.nickname) not in taken]


def _replica(lobby: str) -> tuple[Stamp, list[str]] | None:
    # One statement, so that number and members are of one moment.
    rows = list(
        Room.objects.filter(namespace=wire.LOBBY, name=lobby)
        .order_by("memberships__pk")
        .values_list("pk", "version", "memberships__nickname")
    )
    if not rows:
        return None
    key, version, _ = rows[0]
    return (key, version), [id for _, _, id in rows if id is not None]


def _states(lobbies: Sequence[str], here: str) -> dict[str, State]:
    found: dict[str, State] = {}
    for start in range(0, len(lobbies), CHUNK):
        chunk = lobbies[start : start + CHUNK]
        rooms = Room.objects.filter(namespace=wire.LOBBY, name__in=chunk)
        counted = rooms.annotate(ids=Count("memberships__nickname", distinct=True))
        lapsed = _lapsed(chunk, here)
        for name, key, version, ids in counted.values_list("name", "pk", "version", "ids"):
            found[name] = State((key, version), ids, tuple(lapsed.get(name, ())))
    return found


def _lapsed(lobbies: Sequence[str], here: str) -> dict[str, list[MembershipEntry]]:
    rows = Membership.objects.lapsed().filter(room__namespace=wire.LOBBY, room__name__in=lobbies)
    found: dict[str, list[MembershipEntry]] = defaultdict(list)
    for row in rows.exclude(connection__worker_id=here).select_related("room"):
        entry = MembershipEntry(
            (wire.LOBBY, row.room.name), row.connection_id, row.nickname, row.joined_at, "", ()
        )
        found[row.room.name].append(entry)
    return found
