"""Credentials: where they are found, which kind they are of, and the grant of each."""

from __future__ import annotations

from datetime import timedelta
from math import inf
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from routing_app.core.access import credentials, keys
from routing_app.core.access.admission import Refused
from routing_app.core.access.credentials import CredentialKind, Presented
from routing_app.core.access.grants import UNBOUNDED, Grant, GrantKind
from routing_app.core.access.known_keys import KnownKeys
from routing_app.core.codes import UNAUTHENTICATED, UNAVAILABLE, Refusal
from routing_app.core.database import query
from routing_app.core.issuers import access_tokens
from routing_app.core.jwt.jwks import KeysUnavailable
from routing_app.core.jwt.token import TokenRefused
from routing_app.core.models import ApiKey, Scope

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhcHAifQ.c2lnbmF0dXJl"
TOKEN, KEY = CredentialKind.TOKEN, CredentialKind.KEY


@pytest.mark.parametrize(
    ("headers", "query", "presented"),
    [
        pytest.param([], b"", None, id="nothing"),
        pytest.param([], b"RegisterToken=a&access_token=&key=", None, id="empty fields"),
        pytest.param([], b"access_token=abc", Presented(TOKEN, "abc"), id="access_token"),
        pytest.param([], b"access_token=a%2Bb", Presented(TOKEN, "a+b"), id="access_token, encoded"),
        pytest.param([], b"access_token=a&access_token=b", Presented(TOKEN, "b"), id="two access_tokens"),
        pytest.param([], b"key=sb_abc", Presented(KEY, "sb_abc"), id="key"),
        pytest.param([], f"key={JWT}".encode(), Presented(KEY, JWT), id="key that looks like a JWT"),
        pytest.param([], b"key=sb_abc&access_token=a", Presented(TOKEN, "a"), id="access_token and key"),
        pytest.param([(b"authorization", b"Bearer sb_abc")], b"", Presented(KEY, "sb_abc"), id="Bearer key"),
        pytest.param(
            [(b"authorization", f"bearer {JWT}".encode())], b"", Presented(TOKEN, JWT), id="Bearer JWT"
        ),
        pytest.param(
            [(b"authorization", b"Bearer my.own.key")], b"", Presented(KEY, "my.own.key"), id="key with dots"
        ),
        pytest.param([(b"authorization", b"Basic YTpi")], b"", None, id="Basic alone"),
        pytest.param(
            [(b"authorization", b"Basic YTpi"), (b"authorization", b"Bearer sb_abc")],
            b"",
            Presented(KEY, "sb_abc"),
            id="Basic of a proxy beside Bearer",
        ),
        pytest.param([(b"x-api-key", b"sb_abc")], b"", Presented(KEY, "sb_abc"), id="X-API-Key"),
        pytest.param(
            [(b"authorization", b"Bearer sb_abc")],
            b"access_token=a",
            Presented(KEY, "sb_abc"),
            id="header first",
        ),
    ],
)
def test_a_credential_is_found(headers: Any, query: bytes, presented: Presented | None) -> None:
    assert credentials.of_scope({"headers": headers, "query_string": query}) == presented


def test_a_credential_is_not_shown() -> None:
    assert JWT not in repr(credentials.of_either_kind(JWT))


class KnownWorker:
    """The part of a worker that credentials ask."""

    def __init__(self) -> None:
        self.keys = KnownKeys()


@pytest.fixture
def worker() -> Any:
    return KnownWorker()


async def test_nothing_is_enough_where_a_protocol_is_open(worker: Any, settings: Any) -> None:
    settings.ACCESS = {"tokens": "open"}

    assert await credentials.grant_of(worker, "tokens", None) == UNBOUNDED
    assert not credentials.needs_credential("tokens")


async def test_nothing_is_refused_where_a_protocol_needs_a_token(worker: Any, settings: Any) -> None:
    settings.ACCESS = {"tokens": "token"}

    with pytest.raises(Refused) as refused:
        await credentials.grant_of(worker, "tokens", None)

    assert (refused.value.close, refused.value.reason) == (UNAUTHENTICATED, Refusal.FORBIDDEN)


@pytest.mark.parametrize("access", ["open", "token"])
@pytest.mark.parametrize(
    ("error", "close", "reason"),
    [
        (TokenRefused("exp", "expired"), UNAUTHENTICATED, Refusal.FORBIDDEN),
        (KeysUnavailable(), UNAVAILABLE, Refusal.UNAVAILABLE),
        (OperationalError(), UNAVAILABLE, Refusal.UNAVAILABLE),
    ],
)
async def test_a_token_that_is_not_accepted_refuses(
    worker: Any,
    settings: Any,
    monkeypatch: Any,
    caplog: Any,
    access: str,
    error: Any,
    close: Any,
    reason: Any,
) -> None:
    async def verify(token: str) -> Grant:
        raise error

    monkeypatch.setattr(access_tokens, "verify", verify)
    settings.ACCESS = {"tokens": access}

    with caplog.at_level("INFO"), pytest.raises(Refused) as refused:
        await credentials.grant_of(worker, "tokens", Presented(TOKEN, JWT))

    assert (refused.value.close, refused.value.reason) == (close, reason)
    assert JWT not in caplog.text


async def test_a_token_is_known_where_a_protocol_is_open(
    worker: Any, settings: Any, monkeypatch: Any
) -> None:
    known = Grant(GrantKind.TOKEN, "ann", issuer="app", subject="ann")

    async def verify(token: str) -> Grant:
        return known

    monkeypatch.setattr(access_tokens, "verify", verify)
    settings.ACCESS = {"tokens": "open"}

    assert await credentials.grant_of(worker, "tokens", Presented(TOKEN, JWT)) is known


@pytest.mark.django_db(transaction=True)
async def test_a_wrong_key_refuses(worker: Any, settings: Any) -> None:
    settings.ACCESS = {"tokens": "open"}

    with pytest.raises(Refused) as refused:
        await credentials.grant_of(worker, "tokens", Presented(KEY, "sb_wrong"))

    assert (refused.value.close, refused.value.reason) == (UNAUTHENTICATED, Refusal.FORBIDDEN)


@pytest.mark.django_db(transaction=True)
async def test_a_key_gives_its_grant(worker: Any) -> None:
    row, plain = await query(keys.issue, "phone", [Scope.READ])

    grant = await credentials.verify(worker, "tokens", Presented(KEY, plain))

    assert (grant.kind, grant.identity, grant.key_id, grant.key_prefix) == (
        GrantKind.KEY,
        "phone",
        row.pk,
        row.prefix,
    )


@pytest.mark.parametrize(
    ("scopes", "addresses", "subscribes", "publishes"),
    [
        ([Scope.READ, Scope.PUBLISH], [], True, True),
        ([Scope.READ], [], True, False),
        ([Scope.PUBLISH], [], False, True),
        ([Scope.MANAGE, Scope.ADMIN], [], False, False),
        ([Scope.READ, Scope.PUBLISH], ["token:abc*"], True, True),
        ([Scope.READ, Scope.PUBLISH], ["token:x*"], False, False),
    ],
)
def test_a_key_needs_the_scope_and_the_address(
    scopes: list[str], addresses: list[str], subscribes: bool, publishes: bool
) -> None:
    grant = keys.grant_of(ApiKey(name="phone", scopes=scopes, addresses=addresses))

    assert grant.may_subscribe("token:abc1") is subscribes
    assert grant.may_publish("token:abc1") is publishes


def test_a_key_expires() -> None:
    at = timezone.now() + timedelta(hours=1)

    assert keys.grant_of(ApiKey(scopes=[], addresses=[], expires_at=at)).expires_at == at.timestamp()
    assert keys.grant_of(ApiKey(scopes=[], addresses=[])).expires_at == inf
