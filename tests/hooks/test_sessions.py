"""The sessions protocol with hooks: the backend decides who plays."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.hooks.node import NodeBackend
from tests.services.server import Server
from tests.sessions.conftest import Broker, Customer
from tests.sessions.http import Http


@pytest.fixture
async def customer(broker: Server) -> AsyncIterator[Customer]:
    http = Http(broker.url)
    yield Customer(Broker(broker), http)
    await http.close()


async def test_creating_a_session_is_asked_about_as_a_request(
    broker: Server, node: NodeBackend, customer: Customer
):
    with node.hooked(broker, "sessions", "request"):
        assert (await customer.create(offerId="film", sessionName="Kitchen")).status == 200
        denied = await customer.create(offerId="banned")
        assert (denied.status, denied.json) == (403, {"code": "Refused", "message": "that is banned"})
    assert customer.rows() == 1
    assert customer.events() == ["created"]
    asked = [(one["on"], one["connection"], one["identity"], one["message"]) for one in node.asked()]
    assert asked == [
        ("request", None, f"demo/{customer.id}", {"offerId": "film", "sessionName": "Kitchen"}),
        ("request", None, f"demo/{customer.id}", {"offerId": "banned"}),
    ]


async def test_a_takeover_that_the_backend_refuses_ends_nobody(
    broker: Server, node: NodeBackend, customer: Customer
):
    first = (await customer.create()).json["sessionId"]
    with node.hooked(broker, "sessions", "request", "takeover"):
        assert (await customer.create(sessionName="banned but not asked about")).status == 200
        denied = await customer.take_over(sessionId=first, deviceName="banned")
        assert denied.status == 403
        assert customer.events() == ["created", "created"]
        assert (await customer.take_over(sessionId=first)).status == 200
    assert [one["message"]["sessionIds"] for one in node.asked()] == [[first], [first]]


async def test_while_the_backend_fails_nobody_new_plays_or_everybody(
    broker: Server, node: NodeBackend, customer: Customer
):
    with node.hooked(broker, "sessions", "request", at="broken"):
        reply = await customer.create()
        assert (reply.status, reply.json["code"]) == (503, "Unavailable")
        assert int(reply.headers["retry-after"]) > 0
    with node.hooked(broker, "sessions", "request", at="broken", fail="open"):
        assert (await customer.create()).status == 200
    assert customer.rows() == 1
