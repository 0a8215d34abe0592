"""Who a customer token speaks for: `customerId` and `publisherId`, signed by the publisher.

The token says which publisher's keys to try and, with `kid`, which of them. Everything else is the key
row's: its algorithm, and where a JWKS is fetched from.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import jwt
import orjson

from sessions_app.jwks import key_set
from sessions_app.keys import KeyKind
from sessions_app.publishers import Known, publisher
from sessions_app.wire import MAX_TEXT, is_clean

MAX_TOKEN: Final = 8192
LEEWAY_SECONDS: Final = 5
"""How far the publisher's clock may be off."""
CLAIMS: Final = ("exp", "nbf", "iat", "aud", "iss")
EVERYTHING: Final[dict[str, Any]] = {f"verify_{part}": True for part in ("signature", *CLAIMS)} | {
    "require": ["exp"]
}


class Refused(Exception):
    """A token is not accepted. `claim` is the part that is wrong; the text is for the operator."""

    def __init__(self, claim: str, why: str) -> None:
        super().__init__(f"{claim}: {why}")
        self.claim = claim
        self.why = why


@dataclass(frozen=True, slots=True)
class Customer:
    """Who asks."""

    publisher: str
    id: str
    tracking_enabled: bool = True


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says of itself."""

    header: dict[str, Any]
    claims: dict[str, Any]


async def authenticate(token: str, find: Callable[[str], Awaitable[Known | None]] = publisher) -> Customer:
    """The customer of a token. Raises Refused, KeysUnavailable and what the database raises."""
    unverified = read(token)
    name, id = identity(unverified)
    known = await find(name)
    if known is None:
        raise Refused("publisherId", "no such publisher")
    if any(key.kind is KeyKind.JWKS for key in known.keys):
        await asyncio.to_thread(verify, token, unverified, known)
    else:
        verify(token, unverified, known)
    return Customer(known.name, id, known.tracking_enabled)


def read(token: str) -> Unverified:
    """The two readable parts of a token, believed in nothing. Raises Refused."""
    if len(token) > MAX_TOKEN:
        raise Refused("token", f"longer than {MAX_TOKEN} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise Refused("token", "not a JWT")
    return Unverified(_json_object(parts[0]), _json_object(parts[1]))


def identity(unverified: Unverified) -> tuple[str, str]:
    """Publisher and customer that a token claims. Raises Refused."""
    return _id(unverified.claims, "publisherId"), _id(unverified.claims, "customerId")


def verify(token: str, unverified: Unverified, known: Known) -> None:
    """Check signature and claims. Raises Refused and KeysUnavailable."""
    for algorithm, key in _candidates(unverified, known):
        with suppress(Refused):
            _check_issuer(unverified.claims.get("iss"), known)
            _decode(
                token, algorithm, key, claim="token", audience=list(known.audiences) or None, **EVERYTHING
            )
            return
    raise _reason(token, unverified, known)


def _reason(token: str, unverified: Unverified, known: Known) -> Refused:
    """Why a token that no key has passed is refused: its first part that is wrong."""
    try:
        key = signing_key(token, unverified, known)
        for claim in CLAIMS:
            check_claim(claim, token, unverified, known, key)
    except Refused as refused:
        return refused
    return Refused("token", "not valid")


def signing_key(token: str, unverified: Unverified, known: Known) -> tuple[str, Any]:
    """The algorithm and key that have signed a token. Raises Refused and KeysUnavailable."""
    found = False
    for algorithm, key in _candidates(unverified, known):
        found = True
        try:
            _decode(token, algorithm, key, verify_signature=True)
        except Refused:
            continue
        return algorithm, key
    if not found:
        raise Refused("kid", "no active key has this kid and algorithm")
    raise Refused("signature", "no key fits")


def check_claim(claim: str, token: str, unverified: Unverified, known: Known, key: tuple[str, Any]) -> None:
    """Check one of CLAIMS of a token whose key is known. Raises Refused."""
    if claim == "iss":
        _check_issuer(unverified.claims.get("iss"), known)
        return
    algorithm, material = key
    require = ["exp"] if claim == "exp" else []
    audience = list(known.audiences) or None if claim == "aud" else None
    options = {f"verify_{claim}": True, "require": require}
    _decode(token, algorithm, material, claim=claim, audience=audience, **options)


def examine(token: str, find: Callable[[str], Known | None]) -> Iterator[tuple[str, str]]:
    """Every part of a token and what is wrong with it, "" for nothing; for an operator to read.

    It ends at a part without which the others cannot be looked at.
    """
    try:
        unverified = read(token)
        name, _ = identity(unverified)
        known = find(name)
        if known is None:
            raise Refused("publisherId", f"no publisher {name!r}")
        yield "customerId, publisherId", ""
        key = signing_key(token, unverified, known)
        yield "signature, alg, kid", ""
    except Refused as refused:
        yield refused.claim, refused.why
        return
    for claim in CLAIMS:
        try:
            check_claim(claim, token, unverified, known, key)
            yield claim, ""
        except Refused as refused:
            yield claim, refused.why


def _check_issuer(issuer: Any, known: Known) -> None:
    if issuer is None and not known.issuers:
        return
    if not isinstance(issuer, str) or issuer not in known.issuers:
        raise Refused("iss", "not an issuer that the publisher lists")


def _decode(
    token: str, algorithm: str, key: Any, claim: str = "signature", audience: Any = None, **only: Any
) -> None:
    """One check of PyJWT's, all others off."""
    options: Any = dict.fromkeys((f"verify_{name}" for name in (*CLAIMS, "sub", "jti")), False)
    options |= {"verify_signature": False, "require": []} | only
    try:
        jwt.decode(
            token, key, algorithms=[algorithm], options=options, audience=audience, leeway=LEEWAY_SECONDS
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Refused(claim, str(error) or type(error).__name__) from None


def _candidates(unverified: Unverified, known: Known) -> Iterator[tuple[str, Any]]:
    """Keys that may have signed: of the token's algorithm, and of its `kid` if it has one."""
    algorithm, kid = unverified.header.get("alg"), unverified.header.get("kid")
    for key in known.keys:
        if key.algorithm != algorithm:
            continue
        if key.kind is KeyKind.JWKS:
            yield from ((key.algorithm, found) for found in key_set(key.material).keys(kid))
        elif kid is None or kid == key.kid:
            yield key.algorithm, key.material


def _json_object(part: str) -> dict[str, Any]:
    try:
        value = orjson.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        raise Refused("token", "not a JWT") from None
    if not isinstance(value, dict):
        raise Refused("token", "not a JWT")
    return value


def _id(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not is_clean(value):
        raise Refused(name, f"not a text of 1 to {MAX_TEXT} characters, nor a number")
    return value
