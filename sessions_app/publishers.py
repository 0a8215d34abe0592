"""Publishers as the token check needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from routing_app.core.jwt.signature import KnownKey
from routing_app.core.jwt.signers import KnownSigners, active_keys
from sessions_app.models import Publisher


@dataclass(frozen=True, slots=True)
class KnownPublisher:
    """A publisher with its active keys; see `Publisher`."""

    name: str
    tracking_enabled: bool
    audiences: tuple[str, ...]
    issuers: tuple[str, ...]
    keys: tuple[KnownKey, ...]


def load(name: str) -> KnownPublisher | None:
    """The publisher of that name, as the database has it now."""
    row = Publisher.objects.prefetch_related("keys").filter(name=name).first()
    if row is None:
        return None
    return KnownPublisher(
        row.name,
        row.tracking_enabled,
        lines(row.audiences),
        lines(row.issuers),
        active_keys(row.keys.all()),
    )


def lines(text: str) -> tuple[str, ...]:
    """The entries of a field that takes one a line."""
    return tuple(line.strip() for line in text.split("\n") if line.strip())


publishers: Final = KnownSigners(load)
