"""Anything for a token: it is refused, or it is good; nothing else happens."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.access.patterns import is_pattern
from routing_app.core.issuers.access_tokens import AccessTokens
from routing_app.core.jwt.token import TokenRefused
from tests.jwt.signers import FixedSigners
from tests.jwt.signing import HS, access_claims, issuer, signed

pytestmark = pytest.mark.once

TOKENS = AccessTokens(FixedSigners(issuer(HS)))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
CLAIMS = st.dictionaries(
    st.sampled_from(
        ["iss", "sub", "exp", "nbf", "iat", "aud", "jti", "name", "subscribe", "publish", "publisherId"]
    ),
    JSON | st.lists(st.sampled_from(["*", "room:a", "room:*", "", "x", "token:g/"]), max_size=4),
    max_size=5,
)


def outcome(token: str) -> Grant | None:
    """The grant, None for a token that is refused."""
    try:
        return asyncio.run(TOKENS.verify(token))
    except TokenRefused:
        return None


def encoded(part: Any) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@given(st.text(max_size=300) | st.lists(st.text(max_size=60), min_size=3, max_size=3).map(".".join))
def test_any_string_is_refused(token: str) -> None:
    assert outcome(token) is None


@given(JSON | st.binary(max_size=60), JSON | st.binary(max_size=60), st.binary(max_size=40))
def test_any_parts_are_refused(header: Any, claims: Any, signature: bytes) -> None:
    assert outcome(f"{encoded(header)}.{encoded(claims)}.{encoded(signature)}") is None


@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku"]), JSON | st.just("HS256")
    )
)
def test_any_header_is_refused(header: dict[str, Any]) -> None:
    """The signature is none, whatever the header says."""
    assert outcome(f"{encoded(header)}.{encoded(access_claims())}.") is None


@given(CLAIMS)
def test_signed_claims_are_refused_or_meant(changes: dict[str, Any]) -> None:
    claims = access_claims() | changes

    grant = outcome(signed(claims))

    if grant is None:
        return
    assert (grant.kind, grant.issuer, grant.subject) == (GrantKind.TOKEN, "shop", claims["sub"])
    assert 0 < len(grant.subject) <= 255
    assert grant.expires_at == claims["exp"]
    assert all(map(is_pattern, (*grant.subscribe.texts, *grant.publish.texts)))
    assert list(grant.subscribe.texts) == claims.get("subscribe", [])
    assert list(grant.publish.texts) == claims.get("publish", [])
