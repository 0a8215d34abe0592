"""Grants that connections hold: ended with their key or session, brought up to date, and let go of."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.test import Client as Browser
from django.utils import timezone

from routing_app.core.access import keys, standing
from routing_app.core.access.expiry import Expiries
from routing_app.core.access.grants import NOBODY, UNBOUNDED, Grant, GrantKind
from routing_app.core.access.held_grants import HeldGrants
from routing_app.core.codes import EXPIRED
from routing_app.core.database import query
from routing_app.core.delivery.connection import Connection, ConnectionState
from routing_app.core.delivery.outbox import Flusher
from routing_app.core.models import ApiKey, Scope
from tests.core.harness import PLAIN, Recorder
from tests.core.test_expiry import Time, token

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def grants(time: Time) -> HeldGrants:
    return HeldGrants(Expiries(time.call_later, lambda: time.clock))


@pytest.fixture
async def one() -> Connection:
    return Connection("0" * 28, "test", Recorder(), Flusher(asyncio.get_running_loop()), PLAIN)


def key(**fields: Any) -> Grant:
    row, _ = keys.issue("a key", [Scope.READ, Scope.PUBLISH], **fields)
    return keys.grant_of(row)


def session() -> Grant:
    browser = Browser()
    browser.force_login(get_user_model().objects.create_superuser("staff"))
    grant = standing.staff_grant(browser.session.session_key or "")
    assert grant is not None
    return grant


async def test_a_key_that_goes_on_changes_nothing(grants: HeldGrants, one: Connection) -> None:
    held = await query(key)
    calls: list[str] = []
    grants.hold(one, held, lambda: calls.append("changed"))
    await grants.recheck()
    assert (one.grant, one.state, calls) == (held, ConnectionState.OPEN, [])


@pytest.mark.parametrize("how", ["revoked", "deleted", "expired"])
async def test_a_key_that_ends_ends_its_connection(
    grants: HeldGrants, one: Connection, time: Time, how: str
) -> None:
    grants.hold(one, await query(key))
    rows = ApiKey.objects.all()
    if how == "deleted":
        await query(rows.delete)
    elif how == "revoked":
        await query(lambda: rows.update(revoked_at=timezone.now()))
    else:
        await query(lambda: rows.update(expires_at="2026-01-01T00:00:00Z"))
    await grants.recheck()
    assert one.close_sent is EXPIRED


async def test_a_session_that_ends_ends_its_connection(grants: HeldGrants, one: Connection) -> None:
    grants.hold(one, await query(session))
    await grants.recheck()
    assert one.state is ConnectionState.OPEN
    await query(Session.objects.all().delete)
    await grants.recheck()
    assert one.close_sent is EXPIRED


async def test_a_key_that_changes_gives_what_it_gives_now(
    grants: HeldGrants, one: Connection, time: Time
) -> None:
    seen: list[bool] = []
    grants.hold(one, await query(key), lambda: seen.append(one.grant.may_subscribe("token:a")))
    await query(lambda: ApiKey.objects.update(addresses=["token:b"]))
    await grants.recheck()
    await query(lambda: ApiKey.objects.update(addresses=["token:*"]))
    await grants.recheck()
    assert seen == [False, True]


async def test_a_key_that_gets_an_end_ends_its_connection_then(
    grants: HeldGrants, one: Connection, time: Time
) -> None:
    grants.hold(one, await query(key))
    now = timezone.now()
    time.clock = now.timestamp()
    await query(lambda: ApiKey.objects.update(expires_at=now + timedelta(seconds=600)))
    await grants.recheck()
    assert one.state is ConnectionState.OPEN
    time.pass_by(601)
    assert one.close_sent is EXPIRED


@pytest.mark.parametrize("instead", [UNBOUNDED, NOBODY, token(4e9)], ids=["open", "nobody", "a token"])
async def test_one_that_presents_something_else_holds_its_key_no_longer(
    grants: HeldGrants, one: Connection, instead: Grant
) -> None:
    grants.hold(one, await query(key))
    grants.hold(one, instead)
    await query(ApiKey.objects.all().delete)
    await grants.recheck()
    assert (one.state, one.grant) == (ConnectionState.OPEN, instead)


@pytest.mark.parametrize("how", ["leaves", "presents a token"])
async def test_what_happens_while_the_database_is_asked_counts(
    grants: HeldGrants, one: Connection, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    held = await query(key)
    grants.hold(one, held)

    async def asked(function: Any, *arguments: Any) -> Any:
        if how == "leaves":
            grants.forget(one)
        else:
            grants.hold(one, token(4e9))
        return {}

    monkeypatch.setattr("routing_app.core.access.held_grants.query", asked)
    await grants.recheck()
    assert one.state is ConnectionState.OPEN
    assert one.grant.kind is (GrantKind.KEY if how == "leaves" else GrantKind.TOKEN)


async def test_nobody_is_looked_up_where_nobody_holds_anything(
    grants: HeldGrants, one: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    grants.hold(one, token(4e9))
    monkeypatch.setattr("routing_app.core.access.held_grants.query", None)
    await grants.recheck()
