"""Issuers that a process knows: a change holds at once where the message comes, else within seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from routing_app.core.issuers import service
from routing_app.core.issuers.access_tokens import verify
from routing_app.core.issuers.known import ISSUERS_CHANGED, KnownIssuer, issuers
from routing_app.core.issuers.service import WantedKey
from routing_app.core.jwt.algorithms import KeyKind
from routing_app.core.jwt.signers import KEPT, KnownSigners
from routing_app.core.jwt.token import TokenRefused
from routing_app.core.models import Issuer
from routing_app.core.worker import current_worker
from tests.jwt.key_server import Clock
from tests.jwt.signing import SECRET, access_claims, signed

pytestmark = pytest.mark.django_db(transaction=True)

OTHER = "o" * 64


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Time passes when the test says so; no other test's issuers are known."""
    clock = Clock()
    monkeypatch.setattr("routing_app.core.jwt.signers.monotonic", clock)
    issuers.forget()
    yield clock
    issuers.forget()


@pytest.fixture
def shop() -> Issuer:
    """The issuer `shop`."""
    return service.make({"name": "shop"}, [WantedKey("HS256", "", KeyKind.SECRET, SECRET)])


async def verdict(secret: str = SECRET, **changes: Any) -> str:
    """`good`, or the part of a token that is wrong."""
    try:
        await verify(signed(access_claims(**changes), secret))
    except TokenRefused as refused:
        return refused.claim
    return "good"


CHANGES: dict[str, tuple[dict[str, Any], list[WantedKey] | None, str]] = {
    "disabled": ({"enabled": False}, None, "iss"),
    "renamed": ({"name": "other"}, None, "iss"),
    "an audience": ({"audiences": ["a"]}, None, "aud"),
    "no keys": ({}, [], "kid"),
    "another key": ({}, [WantedKey("HS256", "", KeyKind.SECRET, OTHER)], "signature"),
    "its key is not active": ({}, [WantedKey("HS256", active=False)], "kid"),
}


@pytest.mark.parametrize("case", CHANGES)
async def test_change_holds_at_once(shop: Issuer, case: str) -> None:
    fields, keys, part = CHANGES[case]
    assert await verdict() == "good"

    await sync_to_async(service.change)(shop, fields, keys)

    assert await verdict() == part


@pytest.mark.parametrize("case", CHANGES)
async def test_change_holds_within_five_seconds_without_the_message(
    shop: Issuer, case: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields, keys, part = CHANGES[case]
    monkeypatch.setattr(service, "publish_sync", lambda *args, **options: None)
    assert await verdict() == "good"

    await sync_to_async(service.change)(shop, fields, keys)
    assert await verdict() == "good", "it is remembered"
    clock.passes(4.9)

    assert await verdict() == part


async def test_new_issuer_holds_at_once(shop: Issuer) -> None:
    assert await verdict(iss="late") == "iss"

    await sync_to_async(service.make)({"name": "late"}, [WantedKey("HS256", "", KeyKind.SECRET, SECRET)])

    assert await verdict(iss="late") == "good"


async def test_deleted_issuer_is_refused_at_once(shop: Issuer) -> None:
    assert await verdict() == "good"

    await sync_to_async(service.delete)(shop)

    assert await verdict() == "iss"


async def test_disabled_issuer_that_is_enabled_again(shop: Issuer) -> None:
    for enabled, part in ((False, "iss"), (True, "good")):
        await sync_to_async(service.change)(shop, {"enabled": enabled}, None)
        assert await verdict() == part


def test_every_worker_handles_the_message() -> None:
    async def handlers() -> bool:
        return ISSUERS_CHANGED in current_worker().hub._handlers

    assert asyncio.run(handlers())


async def test_row_that_was_read_before_it_changed_is_not_remembered() -> None:
    """The message comes while the row is on its way."""
    entered, released = Event(), Event()
    rows = [KnownIssuer("shop", (), ()), None]

    def load(name: str) -> KnownIssuer | None:
        entered.set()
        released.wait(60)
        return rows.pop(0)

    known = KnownSigners(load)
    first = asyncio.create_task(known.find("shop"))
    await asyncio.to_thread(entered.wait, 60)
    known.forget()
    released.set()

    assert await first is not None
    assert await known.find("shop") is None


async def test_all_who_ask_at_once_wait_for_one_query() -> None:
    entered, released = Event(), Event()
    loaded: list[str] = []

    def load(name: str) -> KnownIssuer | None:
        loaded.append(name)
        entered.set()
        released.wait(60)
        return KnownIssuer(name, (), ())

    known = KnownSigners(load)
    asking = [asyncio.create_task(known.find("shop")) for _ in range(1000)]
    await asyncio.to_thread(entered.wait, 60)
    asking[0].cancel()
    released.set()

    found = await asyncio.gather(*asking[1:])
    assert {one.name for one in found if one} == {"shop"}
    assert loaded == ["shop"]


async def test_query_that_fails_is_not_remembered() -> None:
    outcomes: list[Any] = [OperationalError("out"), None]

    def load(name: str) -> None:
        if error := outcomes.pop(0):
            raise error

    known: KnownSigners[KnownIssuer] = KnownSigners(load)
    with pytest.raises(OperationalError):
        await known.find("shop")
    assert await known.find("shop") is None
    assert outcomes == []


async def test_names_of_nobody_take_little_room() -> None:
    loaded: list[str] = []

    def load(name: str) -> None:
        loaded.append(name)

    known: KnownSigners[KnownIssuer] = KnownSigners(load)
    for number in range(KEPT + 10):
        await known.find(str(number))
    for number in (KEPT + 9, 10, 0):
        await known.find(str(number))

    assert loaded[KEPT + 10 :] == ["0"]
