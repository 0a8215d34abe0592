"""Access tokens, what signs them, and issuers that know it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from routing_app.core.access.grants import Grant
from routing_app.core.issuers.access_tokens import AccessTokens
from routing_app.core.issuers.known import KnownIssuer
from routing_app.core.jwt.algorithms import KeyKind
from routing_app.core.jwt.signature import KnownKey
from tests.jwt.signers import FixedSigners

SECRET = "s" * 64
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
EC384 = ec.generate_private_key(ec.SECP384R1())
EC521 = ec.generate_private_key(ec.SECP521R1())
ED = ed25519.Ed25519PrivateKey.generate()

HS = KnownKey(KeyKind.SECRET, "HS256", "", SECRET)


def pem(private: Any) -> str:
    """The public key of a private one, as an operator pastes it."""
    encoded: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


def access_claims(**changes: Any) -> dict[str, Any]:
    """Those of a good access token; a change to None leaves one out."""
    given = {"iss": "shop", "sub": "alice", "exp": int(time.time()) + 900} | changes
    return {name: value for name, value in given.items() if value is not None}


def signed(
    claims: Mapping[str, Any], key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None
) -> str:
    """A token with these claims, of whatever type."""
    # Not `jwt.encode`, which refuses some claims itself.
    headers = {"kid": kid} if kid else None
    payload = json.dumps(dict(claims)).encode()
    return jwt.PyJWS().encode(payload, key, algorithm, headers)


def issuer(*keys: KnownKey, audiences: tuple[str, ...] = ()) -> KnownIssuer:
    """The issuer `shop`."""
    return KnownIssuer("shop", audiences, keys)


async def grant_of(token: str, known: KnownIssuer) -> Grant:
    """The grant of a token. Raises what `verify` does."""
    return await AccessTokens(FixedSigners(known)).verify(token)
