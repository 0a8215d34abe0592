"""Publishers as the token check needs them: read from the database, and kept for a few seconds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import Final

from routing_app.core.database import query
from sessions_app.coordinator import DATABASE_TIMEOUT_SECONDS
from sessions_app.keys import KeyKind
from sessions_app.models import Publisher

KEPT_SECONDS: Final = 5.0
"""A revoked key, or a switch of tracking, may go unnoticed by a worker for so long."""
KEPT: Final = 1024
"""Names kept, known or not: they come from tokens that are not checked yet."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """An active key; see `PublisherKey`."""

    kind: KeyKind
    algorithm: str
    kid: str
    material: str


@dataclass(frozen=True, slots=True)
class KnownPublisher:
    """A publisher; see `Publisher`."""

    name: str
    tracking_enabled: bool
    audiences: tuple[str, ...]
    issuers: tuple[str, ...]
    keys: tuple[KnownKey, ...]


_kept: OrderedDict[str, tuple[float, KnownPublisher | None]] = OrderedDict()


async def publisher(name: str) -> KnownPublisher | None:
    """The publisher of that name, as it was at most KEPT_SECONDS ago. Raises what the database raises, and
    TimeoutError."""
    kept = _kept.get(name)
    if kept is None or kept[0] < monotonic():
        async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS):
            found = await query(load, name)
        kept = (monotonic() + KEPT_SECONDS, found)
        _kept[name] = kept
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    return kept[1]


def load(name: str) -> KnownPublisher | None:
    """The publisher of that name, as the database has it now."""
    row = Publisher.objects.prefetch_related("keys").filter(name=name).first()
    if row is None:
        return None
    keys = [
        KnownKey(KeyKind(key.kind), key.algorithm, key.kid, key.material)
        for key in row.keys.all()
        if key.active
    ]
    return KnownPublisher(
        row.name, row.tracking_enabled, _lines(row.audiences), _lines(row.issuers), tuple(keys)
    )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())
