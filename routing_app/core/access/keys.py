"""API keys: made, shown once, kept as a hash, checked. `revocation` makes them invalid."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256
from typing import Final

from django.utils import timezone

from routing_app.core.models import ApiKey, Scope

PREFIX: Final = "sb_"
SHOWN: Final = 8
"""Characters of a key that are kept readable."""
LAST_USED_EVERY: Final = timedelta(minutes=1)


class KeyTooShort(ValueError):
    """A preset key is too short to be safe."""


def issue(name: str, scopes: Iterable[str] = Scope.values, plain: str = "") -> tuple[ApiKey, str]:
    """Make a key with the given scopes; returns its row and the key, which cannot be had again.

    `plain` presets the key (at least 16 characters, else KeyTooShort).
    """
    plain = plain or PREFIX + secrets.token_urlsafe(30)
    if len(plain) < 16:
        raise KeyTooShort("an API key has at least 16 characters")
    row = ApiKey.objects.create(name=name, prefix=plain[:SHOWN], digest=digest(plain), scopes=sorted(scopes))
    return row, plain


def digest(plain: str) -> str:
    """The hash that is kept of a key. Keys are random, not chosen, so one fast hash is enough."""
    return sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def find(plain: str) -> ApiKey | None:
    """The row of a key that is valid now; notes, once a minute, that it was used."""
    row = ApiKey.objects.filter(digest=digest(plain), revoked_at=None).first()
    if row is None:
        return None
    now = timezone.now()
    if row.last_used_at is None or now - row.last_used_at > LAST_USED_EVERY:
        ApiKey.objects.filter(pk=row.pk).update(last_used_at=now)
    return row
