"""A notice as the frame that a subscriber gets; subscribers with the same rights share it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from routing_app.core.access.masking import SecretAccess, hides_identities, mask
from routing_app.core.delivery.frame import Frame
from routing_app.core.presence_notices.changes import Listed, Net, member_of


class Notice:
    """What some subscribers of an address are told."""

    def __init__(self, address: str, count: int, found: Net) -> None:
        self._address = address
        self._count = count
        self._found = found
        self._protocols = frozenset(one.protocol for one in (*found.joined, *found.left))
        self._by_access: dict[SecretAccess, Frame] = {}
        self._by_hidden: dict[frozenset[str], Frame] = {}

    def frame(self, access: SecretAccess) -> Frame:
        """The frame for a subscriber that sees the secrets of `access` whole."""
        if (frame := self._by_access.get(access)) is None:
            hidden = frozenset(one for one in self._protocols if hides_identities(access, one))
            if (frame := self._by_hidden.get(hidden)) is None:
                frame = self._by_hidden[hidden] = Frame(orjson.dumps(self._shown(hidden)).decode())
            self._by_access[access] = frame
        return frame

    def _shown(self, hidden: frozenset[str]) -> dict[str, Any]:
        shown: dict[str, Any] = {"type": "presence", "address": self._address, "count": self._count}
        if not self._found.is_known:
            return {**shown, "truncated": True}
        joined, left = _shown(self._found.joined, hidden), _shown(self._found.left, hidden)
        return {**shown, "joined": joined, "left": left}


def _shown(members: Iterable[Listed], hidden: frozenset[str]) -> list[dict[str, str]]:
    return [
        {"id": id, "protocol": protocol, "identity": mask(identity) if protocol in hidden else identity}
        for id, protocol, identity in map(member_of, members)
    ]
