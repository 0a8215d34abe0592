"""Who has come to an address and who has left, and what remains of it after a moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Protocol

from routing_app.core.leases.rows import IDENTITY_LENGTH, storable

MOST: Final = 100
"""Connections that one notice, or one report of a worker, names."""


class Listed(Protocol):
    """A connection as notices tell of it. The identity is read when it is told: it may come late."""

    @property
    def id(self) -> str:
        """The connection's id."""

    @property
    def protocol(self) -> str:
        """The name of its protocol."""

    @property
    def identity(self) -> str:
        """Its identity, which may be a secret."""


class Member(NamedTuple):
    """A connection of another worker, or one that has left."""

    id: str
    protocol: str
    identity: str


class Change(NamedTuple):
    """A connection has come, or left; without one it is not known who has."""

    member: Listed | None
    has_come: bool = False


UNKNOWN: Final = Change(None)


class Net(NamedTuple):
    """What is left of some changes; it is not known who came and left where `is_known` is false."""

    joined: list[Listed]
    left: list[Listed]
    is_known: bool = True

    def __bool__(self) -> bool:
        return bool(self.joined or self.left or not self.is_known)


TOO_MANY: Final = Net([], [], is_known=False)


def net(changes: Iterable[Change]) -> Net:
    """The changes without those that undo each other."""
    joined: dict[str, Listed] = {}
    left: dict[str, Listed] = {}
    for member, has_come in changes:
        if member is None:
            return TOO_MANY
        undone, done = (left, joined) if has_come else (joined, left)
        if undone.pop(member.id, None) is None:
            done[member.id] = member
    if len(joined) + len(left) > MOST:
        return TOO_MANY
    return Net([*joined.values()], [*left.values()])


def member_of(connection: Listed) -> Member:
    """A connection as it is now."""
    return Member(connection.id, connection.protocol, storable(connection.identity, IDENTITY_LENGTH))


def packed(members: Iterable[Listed]) -> list[Any]:
    """Connections in the form in which they cross the channel layer."""
    return [list(member_of(one)) for one in members]


def unpacked(members: Iterable[Any]) -> list[Member]:
    """The inverse of `packed`."""
    return [Member(*one) for one in members]
