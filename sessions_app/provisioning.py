"""Publishers made, and tokens signed, without the admin: for commands, the first run and tests."""

from __future__ import annotations

import secrets
from time import time

import jwt

from sessions_app.keys import KeyKind
from sessions_app.models import Publisher

ALGORITHM = "HS256"


class NoSecret(Exception):
    """The publisher has no shared secret to sign with."""


def create_publisher(name: str) -> tuple[Publisher, str]:
    """Make a publisher with a shared secret; returns both. Raises ValidationError for a name that is taken
    or not allowed."""
    publisher = Publisher(name=name)
    publisher.full_clean()
    publisher.save()
    secret = secrets.token_urlsafe(32)
    kid = secrets.token_hex(4)
    publisher.keys.create(kind=KeyKind.SECRET, algorithm=ALGORITHM, kid=kid, material=secret)
    return publisher, secret


def customer_token(publisher: Publisher, customer: str, seconds: int) -> str:
    """A customer token, as the publisher's own login would sign it. Raises NoSecret."""
    key = publisher.keys.filter(kind=KeyKind.SECRET, active=True).first()
    if key is None:
        raise NoSecret(f"{publisher.name} has no active shared secret")
    now = int(time())
    claims = {"customerId": customer, "publisherId": publisher.name, "iat": now, "exp": now + seconds}
    for claim, listed in (("aud", publisher.audiences), ("iss", publisher.issuers)):
        if listed.strip():
            claims[claim] = listed.split()[0]
    return jwt.encode(claims, key.material, key.algorithm, headers={"kid": key.kid} if key.kid else None)
