"""The customer of a token: `customerId` and `publisherId`, signed by the publisher.

The token says which publisher's keys to try and, with `kid`, which of them first. Everything else is the key
row's: its algorithm, and where a JWKS is fetched from. PyJWT checks the signature; the claims are checked
here, because it takes a string for a time and refuses an `iat` in the future, and RFC 7519 does neither.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from time import time
from typing import Any, Final

import jwt
import orjson

from sessions_app.jwks import KeysUnavailable, key_set
from sessions_app.keys import KeyKind
from sessions_app.publishers import KnownPublisher, publisher
from sessions_app.wire import MAX_STRING, is_clean

MAX_TOKEN: Final = 8192
LEEWAY_SECONDS: Final = 5
"""The publisher's clock may be off by so much."""
UNCHECKED: Final[Any] = {
    f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
}
"""Claims that PyJWT leaves to us."""

Find = Callable[[str], Awaitable[KnownPublisher | None]]


class CustomerRefused(Exception):
    """A token is not accepted. `claim` is the part that is wrong; the message is for the operator."""

    def __init__(self, claim: str, why: str) -> None:
        super().__init__(f"{claim}: {why}")
        self.claim = claim
        self.why = why


@dataclass(frozen=True, slots=True)
class Customer:
    """The customer who asks."""

    publisher: str
    id: str
    tracking_enabled: bool = True


@dataclass(frozen=True, slots=True)
class Unverified:
    """The header and claims of a token whose signature is not checked."""

    header: dict[str, Any]
    claims: dict[str, Any]


async def authenticate(token: str, find: Find = publisher) -> Customer:
    """The customer of a token. Raises CustomerRefused, KeysUnavailable and what the database raises."""
    unverified = read(token)
    name, id = identity(unverified)
    known = await find(name)
    if known is None:
        raise CustomerRefused("publisherId", "no such publisher")
    await check_signature(token, unverified, known)
    for claim, problem in check_claims(unverified.claims, known):
        if problem:
            raise CustomerRefused(claim, problem)
    return Customer(known.name, id, known.tracking_enabled)


async def examine(token: str, find: Find) -> AsyncIterator[tuple[str, str]]:
    """Every part of a token and what is wrong with it, "" for nothing; for an operator to read.

    It ends at a part without which the others cannot be looked at. Raises KeysUnavailable.
    """
    try:
        unverified = read(token)
        name, _ = identity(unverified)
        known = await find(name)
        if known is None:
            raise CustomerRefused("publisherId", f"no publisher {name!r}")
        yield "customerId, publisherId", ""
        await check_signature(token, unverified, known)
        yield "signature, alg, kid", ""
    except CustomerRefused as refused:
        yield refused.claim, refused.why
        return
    for claim, problem in check_claims(unverified.claims, known):
        yield claim, problem


def read(token: str) -> Unverified:
    """The two readable parts of a token, none of which is verified. Raises CustomerRefused."""
    if len(token) > MAX_TOKEN:
        raise CustomerRefused("token", f"longer than {MAX_TOKEN} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise CustomerRefused("token", "not a JWT")
    return Unverified(_json_object(parts[0]), _json_object(parts[1]))


def identity(unverified: Unverified) -> tuple[str, str]:
    """Publisher and customer that a token claims. Raises CustomerRefused."""
    return _id(unverified.claims, "publisherId"), _id(unverified.claims, "customerId")


# --- the signature ----------------------------------------------------------------------------------------


async def check_signature(token: str, unverified: Unverified, known: KnownPublisher) -> None:
    """One of the publisher's keys fits: its own before those that have to be fetched. Raises
    CustomerRefused, and KeysUnavailable when none fits but some could not be tried."""
    algorithm, kid = unverified.header.get("alg"), unverified.header.get("kid")
    rows = [key for key in known.keys if key.algorithm == algorithm]
    local = [key for key in rows if key.kind is not KeyKind.JWKS and (kid is None or key.kid in (kid, ""))]
    attempt = _Attempt(token, str(algorithm))
    if attempt.succeeds(key.material for key in local):
        return
    unavailable = None
    for key in rows:
        if key.kind is KeyKind.JWKS:
            offered = key_set(key.material)
            try:
                if attempt.succeeds(await offered.keys(kid)) or attempt.succeeds(
                    await offered.newer_keys(kid)
                ):
                    return
            except KeysUnavailable as error:
                unavailable = error
    raise unavailable or attempt.refused


class _Attempt:
    """Keys that a token is tried with, and why it is `refused` if none has fitted."""

    def __init__(self, token: str, algorithm: str) -> None:
        self._token = token
        self._algorithm = algorithm
        self.refused = CustomerRefused("kid", "no active key has this kid and algorithm")

    def succeeds(self, keys: Iterable[Any]) -> bool:
        """Whether one of the keys has signed the token."""
        for key in keys:
            try:
                jwt.decode(self._token, key, algorithms=[self._algorithm], options=UNCHECKED)
                return True
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
                self.refused = CustomerRefused("signature", f"no key fits: {error or type(error).__name__}")
        return False


# --- the claims -------------------------------------------------------------------------------------------


def check_claims(claims: dict[str, Any], known: KnownPublisher) -> Iterator[tuple[str, str]]:
    """Every claim that matters here and what is wrong with it, "" for nothing."""
    now = time()
    exp = _time_problem(claims, "exp")
    yield "exp", exp or ("expired" if claims["exp"] <= now - LEEWAY_SECONDS else "")
    nbf = _time_problem(claims, "nbf")
    yield "nbf", nbf or ("not valid yet" if claims.get("nbf", 0) > now + LEEWAY_SECONDS else "")
    yield "iat", _time_problem(claims, "iat")
    yield "aud", _audience_problem(claims.get("aud"), known)
    yield "iss", _issuer_problem(claims.get("iss"), known)


def _time_problem(claims: dict[str, Any], name: str) -> str:
    """A NumericDate is a number of seconds (RFC 7519, section 2)."""
    if name not in claims:
        return "missing" if name == "exp" else ""
    value = claims[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    return "" if is_number else "not a number"


def _audience_problem(audience: Any, known: KnownPublisher) -> str:
    if not audience and not known.audiences:
        return ""
    named = audience if isinstance(audience, list) else [audience]
    return "" if any(one in known.audiences for one in named) else "none that the publisher lists"


def _issuer_problem(issuer: Any, known: KnownPublisher) -> str:
    if issuer is None and not known.issuers:
        return ""
    return "" if issuer in known.issuers else "not an issuer that the publisher lists"


# --- the parts of a token ---------------------------------------------------------------------------------


def _json_object(part: str) -> dict[str, Any]:
    try:
        value = orjson.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        raise CustomerRefused("token", "not a JWT") from None
    if not isinstance(value, dict):
        raise CustomerRefused("token", "not a JWT")
    return value


def _id(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_STRING or not is_clean(value):
        raise CustomerRefused(name, f"expected a string of 1 to {MAX_STRING} characters, or a number")
    return value
