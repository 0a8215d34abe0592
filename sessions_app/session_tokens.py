"""The endpoint that a player connects to: where it is, and the session token in it.

The token is ours: HS256, signed with a key derived from SECRET_KEY. SECRET_KEY_FALLBACKS verify as well, so
that a player keeps its endpoint when the secret changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from math import inf
from time import time
from typing import Any, Final
from uuid import UUID

import jwt
from django.conf import settings
from django.utils.crypto import salted_hmac

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "drisc"
MAX_TOKEN: Final = 8192
CLAIMS: Final = ["sid", "cid", "pid", "iat", "exp", "aud"]


class BadToken(Exception):
    """A session token that this server has not made."""


@dataclass(frozen=True, slots=True)
class SessionToken:
    """The content of a session token. `expired`: its time is over, and the player has to create again;
    `issued_at`: the `iat` of the customer token that the session was made with.
    """

    session: UUID
    publisher: str
    customer: str
    expired: bool = False
    issued_at: float = -inf


def url(base: str, token: SessionToken) -> str:
    """The endpoint of a session; `base` is the server's own `ws://host` where no setting names another."""
    return f"{settings.SESSIONS_PUBLIC_URL or base}/?token={sign(token)}"


def sign(token: SessionToken) -> str:
    """A session token, good for SESSIONS_TOKEN_SECONDS."""
    now = int(time())
    claims = {
        "sid": str(token.session),
        "cid": token.customer,
        "pid": token.publisher,
        "iat": now,
        "exp": now + int(settings.SESSIONS_TOKEN_SECONDS),
        "aud": AUDIENCE,
    }
    if token.issued_at != -inf:
        claims["cia"] = token.issued_at
    kid, key = _key(settings.SECRET_KEY)
    return jwt.encode(claims, key, ALGORITHM, headers={"kid": kid})


def read(token: str) -> SessionToken:
    """Check a session token; one that is only too old is returned as expired. Raises BadToken."""
    if len(token) > MAX_TOKEN:
        raise BadToken("too long")
    try:
        key = _keys()[jwt.get_unverified_header(token)["kid"]]
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            options={"require": CLAIMS, "verify_exp": False, "verify_iat": False},
        )
        expired, issued_at = claims["exp"] <= time(), claims.get("cia", -inf)
        return SessionToken(UUID(str(claims["sid"])), claims["pid"], claims["cid"], expired, issued_at)
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadToken(type(error).__name__) from None


def _keys() -> dict[str, bytes]:
    return dict(_key(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=16)
def _key(secret: str) -> tuple[str, bytes]:
    key = salted_hmac("sessions_app.session_tokens", "", secret=secret, algorithm="sha256").digest()
    return sha256(key).hexdigest()[:16], key
