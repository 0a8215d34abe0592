"""Publishers made, and tokens signed, without the admin: for commands, the first run and tests."""

from __future__ import annotations

import secrets

from routing_app.core.jwt.algorithms import KeyKind
from routing_app.core.jwt.signing import sign
from sessions_app.models import Publisher
from sessions_app.publishers import lines

ALGORITHM = "HS256"


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
    """A customer token, as the publisher's own login would sign it. Raises CannotSign."""
    claims = {"customerId": customer, "publisherId": publisher.name}
    for claim, listed in (("aud", lines(publisher.audiences)), ("iss", lines(publisher.issuers))):
        if listed:
            claims[claim] = listed[0]
    return sign(claims, seconds, publisher)
