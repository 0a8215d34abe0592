"""The session token in an endpoint, and the address before it."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions_app import session_tokens
from sessions_app.session_tokens import BadToken, SessionToken, read, sign

pytestmark = pytest.mark.once

TOKEN = SessionToken(uuid4(), "demo", "alice")


def forged(key: Any = None, algorithm: str = "HS256", kid: Any = None, **changes: Any) -> str:
    """A token like ours, with something changed."""
    good = sign(TOKEN)
    claims = jwt.decode(good, options={"verify_signature": False}) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    own_kid, own_key = next(iter(session_tokens._keys().items()))
    return jwt.encode(claims, own_key if key is None else key, algorithm, headers={"kid": kid or own_kid})


def test_signed_tokens_are_read() -> None:
    assert read(sign(TOKEN)) == TOKEN


def test_token_whose_time_is_over_is_read_as_expired() -> None:
    assert read(forged(exp=int(time.time()) - 1)).expired


def test_tokens_of_a_former_secret_still_count(settings: Any) -> None:
    token = sign(TOKEN)

    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a new secret", [settings.SECRET_KEY]
    assert read(token) == TOKEN
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(BadToken):
        read(token)


@pytest.mark.parametrize(
    "change",
    [
        {"key": "x" * 32},
        {"key": "", "algorithm": "none"},
        {"algorithm": "HS512", "key": "x" * 64},
        {"kid": "else"},
        {"aud": "else"},
        {"aud": None},
        {"sid": "no uuid"},
        {"sid": None},
        {"sid": 7},
        {"exp": None},
        {"exp": "soon"},
        {"pid": None},
    ],
    ids=str,
)
def test_token_that_is_not_ours_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadToken):
        read(forged(**change))


@given(st.text() | st.tuples(st.text(), st.text(), st.text()).map(".".join))
def test_no_string_breaks_it(text: str) -> None:
    with pytest.raises(BadToken):
        read(text)


def test_endpoint_is_where_the_setting_says(settings: Any) -> None:
    assert session_tokens.url("ws://here:1", TOKEN).startswith("ws://here:1/?token=")
    settings.SESSIONS_PUBLIC_URL = "wss://play.example"
    assert session_tokens.url("ws://here:1", TOKEN).startswith("wss://play.example/?token=")
