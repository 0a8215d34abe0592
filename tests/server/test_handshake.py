"""The opening handshake over a socket: what is accepted, what is refused, and with which answer."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.server.plain import Plain, PlainFactory, handshake
from tests.services.ports import LOOPBACK
from tests.services.waiting import until

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 101),
        ({"connection": "keep-alive, upgrade"}, 101),
        ({"upgrade": "WebSocket"}, 101),
        ({"connection": "keep-alive"}, 426),
        ({"sec_websocket_version": "8"}, 426),
        ({"sec_websocket_version": None}, 426),
        ({"sec_websocket_key": None}, 400),
        ({"sec_websocket_key": "c2hvcnQ="}, 400),
        ({"sec_websocket_key": "!" * 24}, 400),
        ({"host": None}, 400),
    ],
)
async def test_requests_and_their_status(shared: Plain, changes: dict[str, Any], status: int) -> None:
    raw = await shared.raw("/echo", **changes)
    assert raw.status == status
    assert (b"sec-websocket-version: 13" in raw.head.lower()) == (status == 426)
    await raw.close()


async def test_the_application_chooses_subprotocol_and_headers(shared: Plain) -> None:
    async with shared.open("/last_protocol", subprotocols=["first", "second"]) as client:
        assert client.subprotocol == "second"
        assert client.response is not None
        assert client.response.headers["x-served-by"] == "tests"


async def test_a_subprotocol_that_was_not_offered_is_a_failure_of_the_application(shared: Plain) -> None:
    raw = await shared.raw("/foreign_protocol", sec_websocket_protocol="mine")
    assert raw.status == 500
    await raw.close()


@pytest.mark.parametrize(
    ("path", "status", "body"), [("/refuse", 403, b"Forbidden"), ("/deny", 409, b"no seat")]
)
async def test_before_the_accept_the_answer_is_http(
    shared: Plain, path: str, status: int, body: bytes
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with shared.open(path):
            pass
    assert refused.value.response.status_code == status
    assert (refused.value.response.body or b"").strip() == body


async def test_the_same_connection_serves_on_after_a_refusal(shared: Plain) -> None:
    raw = await shared.raw("/refuse")
    assert raw.status == 403
    assert await raw.reader.readexactly(10) == b"Forbidden\n"
    await raw.request(b"GET /stats HTTP/1.1\r\nHost: test\r\n\r\n")
    assert raw.status == 200
    await raw.close()


async def test_an_application_that_never_answers_the_handshake(plain: PlainFactory) -> None:
    server = plain("--websocket_connect_timeout", "1")
    raw = await server.raw("/sleep")
    assert raw.status == 503
    await raw.close()


async def test_a_client_that_leaves_during_the_handshake(shared: Plain) -> None:
    _, writer = await asyncio.open_connection(LOOPBACK, shared.port)
    before = await shared.stats()
    writer.write(handshake("/undecided"))
    await until(partial(shared.has_waiting, before["waiting"] + 1))
    writer.close()
    await until(partial(shared.has_lost, len(before["codes"])))
