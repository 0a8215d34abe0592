"""Login tokens: JWT signed with HS256, each with a row by its `jti` so that it can be revoked.

A token is opaque to clients. Its claims count only while its
row is not revoked and its user is active, so a copy of the signing key alone opens nothing that was closed.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final

import jwt
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from routing_app.core.address import make
from routing_app.core.publishing import publish_sync
from routing_app.core.revocations.names import Carried, Kind
from routing_app.events.models import LoginToken, Root
from routing_app.events.walker_context import Visitor
from routing_app.events.wire import bare_token, root_reference

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from django.contrib.auth.models import User
    from django.db.models import QuerySet

AUDIENCE: Final = "switchboard.events"
ALGORITHM: Final = "HS256"
MAX_LENGTH: Final = 4096
"""Characters of a token that is looked at; ours have about 300."""
CHUNK: Final = 500
"""Tokens in one query."""
REVOKED_EVENT: Final = "$events.revoked"
"""Event of a publication to a user's address; its message is the list of `jti` that are void."""


def issue(user: User) -> tuple[str, LoginToken] | None:
    """Make a token for a user who has just shown a password, and forget the user's expired ones.

    The token and its row; None when the password has changed, or the user has gone, since it was shown.
    """
    now = timezone.now()
    expires = (now + timedelta(seconds=settings.EVENTS_TOKEN_SECONDS)).replace(microsecond=0)
    with transaction.atomic():
        if not _unchanged(user):
            return None
        LoginToken.objects.filter(user=user, expires_at__lt=now).delete()
        row = LoginToken.objects.create(jti=secrets.token_hex(16), user=user, expires_at=expires)
        root = Root.objects.of(user)
    claims = {
        "aud": AUDIENCE,
        "sub": str(user.pk),
        "root": root.hex_id,
        "jti": row.jti,
        "iat": int(now.timestamp()),
        "exp": int(expires.timestamp()),
    }
    return jwt.encode(claims, settings.EVENTS_TOKEN_SECRET, ALGORITHM), row


def _unchanged(user: User) -> bool:
    """Lock the user's row, so that a change of password comes wholly before the new token or after it."""
    rows = get_user_model()._default_manager.select_for_update()
    return rows.filter(pk=user.pk, password=user.password, is_active=True).first() is not None


def check(text: str) -> Visitor | None:
    """The visitor of a token, with or without `Bearer `; None when it is not valid now. Uses the ORM."""
    claims = _claims(bare_token(text))
    if claims is None:
        return None
    row = (
        LoginToken.objects.valid()
        .filter(jti=claims["jti"])
        .values_list("user_id", "user__root__hex_id")
        .first()
    )
    if row is None or row[1] is None:
        return None
    issued_at = float(claims.get("iat", -inf))
    return Visitor(root_reference(row[1]), row[0], claims["jti"], float(claims["exp"]), issued_at)


def carried(visitor: Visitor) -> Iterable[Carried]:
    """The names of a user that may be revoked: the root id, as sockets and as REST write it, and the `jti` of
    the login token.
    """
    if visitor.authenticated:
        yield Carried(Kind.SUBJECT, visitor.root_id, visitor.issued_at)
        yield Carried(Kind.SUBJECT, visitor.root_id.rpartition("::")[2], visitor.issued_at)
        yield Carried(Kind.JTI, visitor.jti, visitor.issued_at)


def void_among(jtis: Collection[str]) -> set[str]:
    """Those that are not valid any more. Uses the ORM."""
    void, wanted = set(jtis), list(jtis)
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        void -= set(LoginToken.objects.valid().filter(jti__in=chunk).values_list("jti", flat=True))
    return void


def revoke(tokens: QuerySet[LoginToken], because: str) -> int:
    """Make tokens void; their sockets, on every worker, learn it after the commit. How many were valid."""
    with transaction.atomic():
        rows = list(tokens.filter(revoked_at=None).values_list("jti", "user__root__hex_id"))
        void = LoginToken.objects.filter(jti__in=[jti for jti, _ in rows])
        void.update(revoked_at=timezone.now(), revoked_because=because)
        for hex_id in {hex_id for _, hex_id in rows if hex_id}:
            jtis = [jti for jti, owner in rows if owner == hex_id]
            transaction.on_commit(partial(_tell_sockets, root_reference(hex_id), jtis))
    return len(rows)


def revoke_all(user: User, because: str) -> int:
    """Make all tokens of a user void; how many were valid."""
    return revoke(LoginToken.objects.filter(user=user), because)


def _tell_sockets(root_id: str, jtis: Iterable[str]) -> None:
    publish_sync((make("user", root_id),), list(jtis), event=REVOKED_EVENT)


def _claims(token: str) -> dict[str, Any] | None:
    if len(token) > MAX_LENGTH:
        return None
    try:
        return jwt.decode(
            token,
            settings.EVENTS_TOKEN_SECRET,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            options={"require": ["exp", "jti", "aud"]},
        )
    except (jwt.InvalidTokenError, UnicodeError):
        return None
