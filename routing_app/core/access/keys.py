"""API keys: made, shown once, kept as a hash, checked, and what they allow. `key_changes` ends them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from math import inf
from typing import Final

from django.db import OperationalError
from django.db.models import Q, QuerySet
from django.utils import timezone

from routing_app.core.access import masking
from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.access.patterns import ANY, EVERYTHING, NOTHING, Patterns
from routing_app.core.models import ApiKey, Scope
from routing_app.core.revocations.known import is_revoked
from routing_app.core.revocations.names import Carried, Kind

logger = logging.getLogger(__name__)

PREFIX: Final = "sb_"
SHOWN: Final = 8
"""Characters of a key that are kept readable."""
LAST_USED_EVERY: Final = timedelta(minutes=1)


class KeyTooShort(ValueError):
    """A preset key is too short to be safe."""


def issue(
    name: str,
    scopes: Iterable[str] = Scope.values,
    plain: str = "",
    addresses: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key with the given scopes; returns its row and the key, which cannot be had again.

    `plain` presets the key (at least 16 characters, else KeyTooShort); without `addresses` it is for all.
    """
    plain = plain or PREFIX + secrets.token_urlsafe(30)
    if len(plain) < 16:
        raise KeyTooShort("an API key has at least 16 characters")
    row = ApiKey.objects.create(
        name=name,
        prefix=plain[:SHOWN],
        digest=digest(plain),
        scopes=sorted(scopes),
        addresses=list(addresses),
        expires_at=expires_at,
    )
    return row, plain


def digest(plain: str) -> str:
    """The hash that is kept of a key. Keys are random, not chosen, so one fast hash is enough."""
    return sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def find(plain: str) -> ApiKey | None:
    """The row of a key that is valid now; notes, once a minute, that it was used."""
    row = valid().filter(digest=digest(plain)).first()
    if row is None or is_revoked([Carried(Kind.KEY, row.prefix)]):
        return None
    _note_use(row)
    return row


def _note_use(row: ApiKey) -> None:
    now = timezone.now()
    if row.last_used_at is None or now - row.last_used_at > LAST_USED_EVERY:
        try:
            ApiKey.objects.filter(pk=row.pk).update(last_used_at=now)
        except OperationalError as error:  # a full disk: what needs no row goes on
            logger.warning("the use of an API key is not noted: %s", error)


def valid() -> QuerySet[ApiKey]:
    """Keys that are neither revoked nor expired."""
    unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return ApiKey.objects.filter(unexpired, revoked_at=None)


def grant_of(row: ApiKey) -> Grant:
    """The rights of a key that `find` has found."""
    scopes = frozenset(row.scopes)
    addresses = Patterns(row.addresses) if row.addresses and ANY not in row.addresses else EVERYTHING
    return Grant(
        GrantKind.KEY,
        row.name,
        expires_at=inf if row.expires_at is None else row.expires_at.timestamp(),
        key_id=row.pk,
        key_prefix=row.prefix,
        scopes=scopes,
        addresses=addresses,
        subscribe=addresses if Scope.READ in scopes else NOTHING,
        publish=addresses if Scope.PUBLISH in scopes else NOTHING,
        secrets=masking.of_scopes(scopes),
    )


def grants_now(ids: Collection[int]) -> dict[int, Grant]:
    """The rights of those of some keys that are valid now, by the keys' ids."""
    return {row.pk: grant_of(row) for row in valid().filter(pk__in=ids)} if ids else {}
