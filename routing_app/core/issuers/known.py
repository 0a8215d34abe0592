"""Issuers as the check of a token needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from routing_app.core.delivery.publication import Publication
from routing_app.core.jwt.signature import KnownKey
from routing_app.core.jwt.signers import KnownSigners, active_keys
from routing_app.core.models import Issuer

ISSUERS_CHANGED: Final = "$issuers_changed"
"""Event that makes every process forget the issuers it knows."""


@dataclass(frozen=True, slots=True)
class KnownIssuer:
    """An enabled issuer with its active keys; see `Issuer`."""

    name: str
    audiences: tuple[str, ...]
    keys: tuple[KnownKey, ...]


def load(name: str) -> KnownIssuer | None:
    """The enabled issuer of that name, as the database has it now."""
    row = Issuer.objects.prefetch_related("keys").filter(name=name, enabled=True).first()
    if row is None:
        return None
    return KnownIssuer(row.name, tuple(row.audiences), active_keys(row.keys.all()))


issuers: Final = KnownSigners(load)


def forget(publication: Publication) -> int:
    """Forget all issuers of this process. Handles ISSUERS_CHANGED."""
    issuers.forget()
    return 0
