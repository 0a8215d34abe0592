"""Issuers made, changed and deleted, and every process told of it. Uses the ORM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import transaction

from routing_app.core.cluster.batching import EVERYBODY
from routing_app.core.issuers.known import ISSUERS_CHANGED
from routing_app.core.jwt.algorithms import ALGORITHMS, KeyKind, check_material
from routing_app.core.models import Issuer, IssuerKey
from routing_app.core.publishing import publish_sync

MAX_KEYS: Final = 100
"""Keys of one issuer."""


@dataclass(frozen=True, slots=True)
class WantedKey:
    """A key as its issuer shall have it. Without `kind` and `material` it is one that the issuer has already,
    by its algorithm and `kid`: what is secret cannot be read, and so not be written again."""

    algorithm: str
    kid: str = ""
    kind: KeyKind | None = None
    material: str = field(default="", repr=False)
    active: bool = True


class BadKey(ValueError):
    """A key that cannot work: its number among those wanted, the field, and a sentence for the caller."""

    def __init__(self, number: int, field: str, why: str) -> None:
        super().__init__(why)
        self.number = number
        self.field = field


def make(fields: dict[str, Any], keys: Sequence[WantedKey]) -> Issuer:
    """A new issuer; `fields` are columns. Raises BadKey, and IntegrityError where its name is taken."""
    with transaction.atomic():
        issuer = Issuer.objects.create(**fields)
        _set_keys(issuer, keys)
        transaction.on_commit(tell_issuers_changed)
    return issuer


def change(issuer: Issuer, fields: dict[str, Any], keys: Sequence[WantedKey] | None) -> Issuer:
    """Change columns, and with `keys` replace all keys. Raises BadKey, IntegrityError, and
    Issuer.DoesNotExist where it was deleted in between."""
    with transaction.atomic():
        # Locked: of two changes at once each replaces all keys that the other has left.
        row = Issuer.objects.select_for_update().get(pk=issuer.pk)
        for name, value in fields.items():
            setattr(row, name, value)
        row.save()
        if keys is not None:
            _set_keys(row, keys)
        transaction.on_commit(tell_issuers_changed)
    return row


def delete(issuer: Issuer) -> None:
    """Delete an issuer: its tokens are refused."""
    with transaction.atomic():
        issuer.delete()
        transaction.on_commit(tell_issuers_changed)


def tell_issuers_changed() -> None:
    """Tell all processes; one that does not receive that reads the rows within a few seconds anyway."""
    publish_sync((EVERYBODY,), None, event=ISSUERS_CHANGED)


def _set_keys(issuer: Issuer, wanted: Sequence[WantedKey]) -> None:
    """Keys that stay keep their rows, and so their age: the newest secret signs."""
    stored = list(issuer.keys.all())
    kept: set[int] = set()
    for number, key in enumerate(wanted):
        row = _row(issuer, stored, number, key)
        row.active = key.active
        row.save()
        kept.add(row.pk)
    issuer.keys.exclude(pk__in=kept).delete()


def _row(issuer: Issuer, stored: Sequence[IssuerKey], number: int, key: WantedKey) -> IssuerKey:
    alike = [row for row in stored if (row.algorithm, row.kid) == (key.algorithm, key.kid)]
    if key.kind is None:
        if len(alike) != 1:
            why = "expected secret, pem or jwks_url: not one stored key has this algorithm and kid"
            raise BadKey(number, "algorithm", why)
        return alike[0]
    if key.algorithm not in ALGORITHMS:
        raise BadKey(number, "algorithm", f"expected one of {', '.join(ALGORITHMS)}")
    try:
        check_material(key.kind, key.algorithm, key.material)
    except ValueError as error:
        raise BadKey(number, FIELD_OF[key.kind], str(error)) from None
    same = [row for row in alike if (row.kind, row.material) == (key.kind, key.material)]
    if same:
        return same[0]
    return IssuerKey(
        issuer=issuer, kind=key.kind, algorithm=key.algorithm, kid=key.kid, material=key.material
    )


FIELD_OF: Final = {KeyKind.SECRET: "secret", KeyKind.PEM: "pem", KeyKind.JWKS: "jwks_url"}
"""The field of a body that holds the material of a kind of key."""
