"""Times of an HTTP connection, by a given clock: slow heads, bodies and readers, and idle connections."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from switchboard_server.http_connection import (
    HEAD_SECONDS,
    IDLE_SECONDS,
    STALL_SECONDS,
    HttpConnection,
)
from switchboard_server.http_request import HIGH_WATER, HttpRequest
from switchboard_server.proxy import Proxies

pytestmark = pytest.mark.once

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


class Driven:
    """An HTTP connection, and everything it knows of: server and transport."""

    proxies = Proxies()
    max_body_bytes = 2**20
    refusing = draining = False
    http_timeout = 0.0
    server_name = ""
    action_logger = None

    def __init__(self) -> None:
        self.now = 1000.0
        self.loop = asyncio.get_running_loop()
        self.fixed_headers: Mapping[bytes, bytes] = {}
        self.http_connections: set[HttpConnection] = set()
        self.requests: list[HttpRequest] = []
        self.sent = b""
        self.calls: list[str] = []
        self.connection = HttpConnection(self)
        self.connection.connection_made(self)

    def feed(self, data: bytes) -> None:
        self.connection.data_received(data)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.connection.check(self.now)

    @property
    def status(self) -> int:
        """Of the last answer; 0 before one."""
        return int(self.sent.rpartition(b"HTTP/1.1 ")[2][:3] or 0)

    def answer(self) -> None:
        """The application answers the request that waits."""
        self.requests[-1].answer(200, "OK")

    # --- switchboard_server.http_connection.HttpServer ---

    def begin(self, request: HttpRequest) -> None:
        self.requests.append(request)

    def open_websocket(self, upgrade: Any) -> None:
        raise AssertionError

    def answered(self, request: HttpRequest) -> None:
        """Nothing is logged."""

    # --- asyncio's transport ---

    def get_extra_info(self, name: str) -> Any:
        return None if name in {"sslcontext", "peername", "sockname"} else self

    family = 0

    def setsockopt(self, *words: Any) -> None:
        self.calls.append("reset")

    def write(self, data: bytes) -> None:
        self.sent += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.calls.append("half_close")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


async def test_a_connection_without_a_request_is_closed():
    driven = Driven()
    driven.pass_time(IDLE_SECONDS)
    assert driven.calls == []
    driven.pass_time(1)
    assert (driven.calls, driven.sent) == (["close"], b"")


async def test_a_kept_connection_is_closed_when_no_further_request_comes():
    driven = Driven()
    driven.pass_time(IDLE_SECONDS)
    driven.feed(GET)
    driven.answer()
    driven.pass_time(IDLE_SECONDS)
    assert driven.calls == []
    driven.pass_time(1)
    assert driven.calls == ["close"]


async def test_a_head_that_comes_in_drops_is_408():
    driven = Driven()
    driven.feed(b"G")
    driven.pass_time(1)
    driven.feed(b"ET ")
    driven.pass_time(HEAD_SECONDS - 1)
    assert driven.sent == b""
    driven.feed(b"/")  # more of it gives no more time
    driven.pass_time(1)
    assert driven.status == 408
    assert driven.calls == ["half_close"]


async def test_a_body_that_stalls_is_408():
    driven = Driven()
    driven.feed(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345")
    driven.pass_time(STALL_SECONDS)
    driven.feed(b"6")
    driven.pass_time(STALL_SECONDS)
    assert driven.sent == b""
    driven.pass_time(1)
    assert driven.status == 408
    assert driven.requests == [], "the application was not asked"


async def test_a_body_that_the_application_does_not_receive_may_wait():
    driven = Driven()
    driven.feed(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n")
    driven.feed(bytes(HIGH_WATER + 1))
    driven.feed(bytes(1))
    assert driven.calls == ["pause"]
    driven.pass_time(10 * STALL_SECONDS)
    assert driven.sent == b""

    await driven.requests[-1].receive()
    assert driven.calls == ["pause", "resume"]


async def test_a_client_that_does_not_read_is_reset():
    driven = Driven()
    driven.feed(GET)
    driven.connection.pause_writing()
    driven.pass_time(STALL_SECONDS)
    assert driven.calls == []
    driven.pass_time(1)
    assert driven.calls == ["reset", "abort"]


async def test_an_application_may_take_its_time_and_no_more_than_its_limit():
    driven = Driven()
    driven.feed(GET)
    driven.pass_time(10**6)
    assert driven.sent == b""
    driven.http_timeout = 5.0
    driven.pass_time(0)
    assert driven.status == 503
    kinds = [(await driven.requests[-1].receive())["type"] for _ in range(2)]
    assert kinds == ["http.request", "http.disconnect"]


async def test_reading_pauses_while_a_request_waits_behind_another():
    driven = Driven()
    told = []
    driven.feed(GET)
    driven.requests[-1].on_another(lambda: told.append(True))
    driven.feed(GET)
    assert (driven.calls, told, len(driven.requests)) == (["pause"], [True], 1)
    driven.answer()
    assert len(driven.requests) == 2
    assert driven.calls == ["pause", "resume"]
