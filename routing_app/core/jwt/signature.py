"""Signatures: one of the keys of a signer fits.

The token says, with `kid`, which keys to try first. Everything else is the key row's: its algorithm, and
where a JWKS is fetched from. PyJWT compares a signature in constant time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from routing_app.core.jwt.algorithms import KeyKind
from routing_app.core.jwt.jwks import KeysUnavailable, key_set
from routing_app.core.jwt.token import TokenRefused, Unverified

_signatures: Final = jwt.PyJWS()


@dataclass(frozen=True, slots=True)
class KnownKey:
    """An active key; see `SigningKey`."""

    kind: KeyKind
    algorithm: str
    kid: str
    material: str = field(repr=False)

    @property
    def verifier(self) -> Any:
        """The key as PyJWT takes it; of a JWKS, which has many, nothing."""
        return _public_key(self.material) if self.kind is KeyKind.PEM else self.material


@lru_cache(maxsize=1024)
def _public_key(pem: str) -> Any:
    return load_pem_public_key(pem.encode())


async def check_signature(token: str, unverified: Unverified, keys: Iterable[KnownKey]) -> None:
    """One of a signer's keys fits: those at hand are tried before those that have to be fetched.

    Raises TokenRefused, and KeysUnavailable when none fits but some could not be tried.
    """
    algorithm, kid = unverified.header.get("alg"), unverified.header.get("kid")
    rows = [key for key in keys if key.algorithm == algorithm]
    local = [key for key in rows if key.kind is not KeyKind.JWKS and (kid is None or key.kid in (kid, ""))]
    attempt = _Attempt(token, str(algorithm))
    if attempt.succeeds(key.verifier for key in local):
        return
    unavailable = None
    for key in rows:
        if key.kind is KeyKind.JWKS:
            try:
                async for offered in key_set(key.material).offers(kid):
                    if attempt.succeeds(offered):
                        return
            except KeysUnavailable as error:
                unavailable = error
    raise unavailable or attempt.refused


class _Attempt:
    """Keys that a token is tried with, and why it is `refused` if none has fitted."""

    def __init__(self, token: str, algorithm: str) -> None:
        self._token = token
        self._algorithm = algorithm
        self.refused = TokenRefused("kid", "no active key has this kid and algorithm")

    def succeeds(self, keys: Iterable[Any]) -> bool:
        """True when one of the keys has signed the token."""
        for key in keys:
            try:
                _signatures.decode_complete(self._token, key, algorithms=[self._algorithm])
                return True
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
                self.refused = TokenRefused("signature", f"no key fits: {error or type(error).__name__}")
        return False
