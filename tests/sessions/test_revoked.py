"""Customers that are revoked: their sessions end, as by an operator, and creates are refused."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.revocations.clients import lift, revoke
from tests.services.handshake import shake
from tests.services.waiting import until, until_equal
from tests.sessions.conftest import Broker, Customer, Play
from tests.sessions.http import Http

REVOKED = 4008
STOP = {"action": "TAKE_OVER", "sessionName": "operator"}


def subject(customer: Customer) -> str:
    return f"demo/{customer.id}"


async def test_sessions_of_a_revoked_customer_end_and_creates_are_refused(
    broker: Broker, customer: Customer, play: Play
):
    created = await customer.create(name="TV")
    player = await play(created)
    unbound = await customer.create(name="Phone")
    other = Customer(broker, customer.http)
    others = await play(await other.create())

    path = await revoke(broker.server, subject=subject(customer), reason="chargeback")
    assert [await player.receives(), await player.receives()] == [STOP, ("closed", REVOKED)]
    await until_equal(0, lambda: asyncio.to_thread(customer.rows))
    assert customer.events() == ["created", "bound", "created", "killed", "killed"]
    endpoint = unbound.json["endpoint"].partition("/?")[2]
    await until(lambda: is_out(broker, f"/?{endpoint}"))
    await until(lambda: creates(customer, 403))

    for answer in (await customer.create(), await customer.take_over(terminate=[unbound.json["sessionId"]])):
        assert (answer.status, answer.json["code"]) == (403, "Revoked"), answer.json
    assert (await customer.http.request("GET", "/sessions", token=customer.token)).status == 403
    assert await others.requested() == {"action": "OK"}

    await lift(broker.server, path)
    await until(lambda: creates(customer))


async def creates(customer: Customer, status: int = 200) -> bool:
    """Another worker may be told a moment later, and a lifted revocation may hold there for some seconds."""
    return (await customer.create()).status == status


async def is_out(broker: Broker, endpoint: str) -> bool:
    """True when every worker knows, as far as ten tries tell."""
    shakes = [await asyncio.to_thread(shake, broker.server.port, endpoint) for _ in range(10)]
    return all(head.status == 403 for head in shakes)


async def test_sessions_by_tokens_of_before_end_alone(
    broker: Broker, http: Http, customer: Customer, play: Play
):
    """A session counts as old as the customer token that it was made with."""
    customer.limit("offer", 9)
    now = time.time()
    old = await play(await create_issued_at(broker, http, customer, now - 500))
    new = await play(await create_issued_at(broker, http, customer, now))
    nameless = await play(await customer.create())
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 100))

    path = await revoke(broker.server, subject=subject(customer), issued_before=before)
    for player in (old, nameless):
        assert [await player.receives(), await player.receives()] == [STOP, ("closed", REVOKED)]
    assert await new.requested() == {"action": "OK"}
    await until_equal(1, lambda: asyncio.to_thread(customer.rows))
    await until(lambda: creates_issued_at(broker, http, customer, now - 500, 403))
    assert (await create_issued_at(broker, http, customer, now)).status == 200
    await lift(broker.server, path)


async def creates_issued_at(
    broker: Broker, http: Http, customer: Customer, issued_at: float, status: int
) -> bool:
    return bool((await create_issued_at(broker, http, customer, issued_at)).status == status)


async def create_issued_at(broker: Broker, http: Http, customer: Customer, issued_at: float) -> Any:
    token = broker.token(customer.id, iat=int(issued_at))
    return await http.request("POST", "/sessions", {"offerId": "film"}, token)
