"""Customer tokens, what signs them, and publishers that know it."""

from __future__ import annotations

import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sessions_app.access import authenticate
from sessions_app.publishers import KnownKey, KnownPublisher

SECRET = "s" * 32
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def pem(private: Any) -> str:
    encoded: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good token; a change to None leaves one out."""
    now = int(time.time())
    given = {"customerId": "alice", "publisherId": "demo", "iat": now, "exp": now + 900} | changes
    return {name: value for name, value in given.items() if value is not None}


def known(*keys: KnownKey, audiences: tuple[str, ...] = (), issuers: tuple[str, ...] = ()) -> KnownPublisher:
    return KnownPublisher("demo", True, audiences, issuers, keys)


async def check(token: str, publisher: KnownPublisher) -> str:
    """The customer of a token. Raises what `authenticate` does."""

    async def find(name: str) -> KnownPublisher | None:
        return publisher if name == "demo" else None

    return (await authenticate(token, find)).id
