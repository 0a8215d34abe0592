"""Customer tokens and publishers' keys: each input that was reported, with its right answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from asgiref.sync import async_to_sync

from routing_app.core.jwt.algorithms import KeyKind
from routing_app.core.jwt.jwks import KeysUnavailable
from routing_app.core.jwt.token import TokenRefused
from sessions_app.access import CustomerTokens
from sessions_app.models import Publisher, PublisherKey
from sessions_app.publishers import load
from tests.jwt.key_server import (
    Clock,
    Handler,
    KeyServer,
    clock,
    fails,
    firewall,
    html,
    key_server,
    key_servers,
    no_keys,
    redirects_once,
)
from tests.jwt.signers import StoredSigners
from tests.jwt.signing import OTHER_RSA, RSA
from tests.sessions.signing import SECRET, claims

__all__ = ["clock", "key_server", "key_servers"]

pytestmark = pytest.mark.django_db


@async_to_sync
async def verdict(signed: str) -> str:
    """`plays`, `unavailable`, or the part of the token that is wrong."""
    try:
        await CustomerTokens(StoredSigners(load)).verify(signed)
    except TokenRefused as refused:
        return refused.claim
    except KeysUnavailable:
        return "unavailable"
    return "plays"


def token(private: Any, kid: str | None = None) -> str:
    """A good customer token that a key of a JWKS has signed."""
    return jwt.encode(claims(), private, "RS256", headers={"kid": kid} if kid else None)


def publisher_with(kind: KeyKind, algorithm: str, material: str) -> None:
    publisher = Publisher.objects.create(name="demo")
    PublisherKey.objects.create(publisher=publisher, kind=kind, algorithm=algorithm, material=material)


NOW = int(time.time())

CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "iat ten seconds ahead": ({"iat": NOW + 10}, "plays"),
    "iat a day ahead": ({"iat": NOW + 86_400}, "plays"),
    "times with fractions": ({"exp": NOW + 86_400.5, "nbf": NOW - 0.5, "iat": NOW + 0.5}, "plays"),
    "exp is a string": ({"exp": str(NOW + 86_400)}, "exp"),
    "nbf is a string": ({"nbf": str(NOW - 900)}, "nbf"),
    "iat is a string": ({"iat": str(NOW)}, "iat"),
    "exp is true": ({"exp": True}, "exp"),
    "exp is a list": ({"exp": [NOW + 86_400]}, "exp"),
    "nbf a day ahead": ({"nbf": NOW + 86_400}, "nbf"),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_claims(case: str) -> None:
    changes, expected = CLAIMS[case]
    publisher_with(KeyKind.SECRET, "HS256", SECRET)

    assert verdict(jwt.encode(claims(**changes), SECRET, "HS256")) == expected


def test_token_with_a_kid_is_tried_with_a_key_that_has_none() -> None:
    publisher_with(KeyKind.SECRET, "HS256", SECRET)

    assert verdict(jwt.encode(claims(), SECRET, "HS256", headers={"kid": "k1"})) == "plays"


Behaviour = Callable[[KeyServer, Handler], None]

URLS: dict[str, tuple[Behaviour | None, str | None, str, int]] = {
    "keys without kid": (None, None, "plays", 1),
    "a firewall that refuses Python-urllib": (firewall, "k1", "plays", 1),
    "one redirect": (redirects_once, "k1", "plays", 2),
    "500": (fails, "k1", "unavailable", 1),
    "200 with HTML": (html, "k1", "unavailable", 1),
    "200 with no keys": (no_keys, "k1", "unavailable", 1),
}
"""The behaviour of a URL, the `kid` of its key, the answer to a good token, and the number of fetches."""


@pytest.mark.parametrize("case", URLS)
def test_jwks(case: str, key_server: KeyServer, clock: Clock) -> None:
    behave, kid, expected, asked = URLS[case]
    publisher_with(KeyKind.JWKS, "RS256", key_server.url)
    key_server.publish(RSA, kid)
    key_server.behave = behave

    assert [verdict(token(RSA, one)) for one in ("k1", "k1", None)] == [expected] * 3
    assert key_server.asked == asked


def test_key_that_was_replaced_under_its_kid(key_server: KeyServer, clock: Clock) -> None:
    publisher_with(KeyKind.JWKS, "RS256", key_server.url)
    key_server.publish(RSA, "k1")
    assert verdict(token(RSA, "k1")) == "plays"
    key_server.keys.clear()
    key_server.publish(OTHER_RSA, "k1")
    clock.passes(5)

    assert verdict(token(OTHER_RSA, "k1")) == "plays"
    assert verdict(token(RSA, "k1")) == "signature"
    assert key_server.asked == 2


def test_jwks_that_fails_after_it_has_worked(key_server: KeyServer, clock: Clock) -> None:
    publisher_with(KeyKind.JWKS, "RS256", key_server.url)
    key_server.publish(RSA, "k1")
    assert verdict(token(RSA, "k1")) == "plays"
    key_server.behave = fails
    clock.passes(301)

    assert verdict(token(RSA, "k1")) == "plays"
    assert key_server.asked == 2


def test_exp_is_1e999() -> None:
    publisher_with(KeyKind.SECRET, "HS256", SECRET)
    payload = json.dumps(claims(exp=0)).replace('"exp": 0', '"exp": 1e999')

    assert "1e999" in payload
    assert verdict(jwt.PyJWS().encode(payload.encode(), SECRET, "HS256")) == "token"
