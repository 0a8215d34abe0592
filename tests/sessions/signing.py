"""Customer tokens, what signs them, and publishers that know it."""

from __future__ import annotations

import time
from typing import Any

from routing_app.core.jwt.signature import KnownKey
from sessions_app.access import CustomerTokens
from sessions_app.publishers import KnownPublisher
from tests.jwt.signers import FixedSigners

SECRET = "s" * 32


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good token; a change to None leaves one out."""
    now = int(time.time())
    given = {"customerId": "alice", "publisherId": "demo", "iat": now, "exp": now + 900} | changes
    return {name: value for name, value in given.items() if value is not None}


def known(*keys: KnownKey, audiences: tuple[str, ...] = (), issuers: tuple[str, ...] = ()) -> KnownPublisher:
    return KnownPublisher("demo", True, audiences, issuers, keys)


async def check(token: str, publisher: KnownPublisher) -> str:
    """The customer of a token. Raises what `authenticate` does."""
    return (await CustomerTokens(FixedSigners(publisher)).verify(token)).id
