"""Times of an HTTP connection, by a given clock: slow heads, bodies and readers, and idle connections."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest

from switchboard_server.asyncio_transport import BYTES_ACKED
from switchboard_server.http_connection import (
    HEAD_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    STALL_SECONDS,
    HttpConnection,
)
from switchboard_server.http_request import HIGH_WATER, HttpRequest
from switchboard_server.proxy import Proxies
from switchboard_server.scope import Scopes

pytestmark = pytest.mark.once

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


class Driven:
    """An HTTP connection, and everything it knows of: server and transport."""

    proxies = Proxies()
    max_body_bytes = 2**20
    refusing = draining = compression = False
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
        self.unsent = 0
        """Bytes that the kernel has no room for."""
        self.acked = 0
        """Bytes that the client's kernel has taken."""
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

    family = socket.AF_UNIX

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def getsockopt(self, *words: Any) -> bytes:
        return bytes(BYTES_ACKED) + struct.pack("Q", self.acked)

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
    driven.pass_time(STALL_SECONDS)
    assert driven.sent == b"", "its client was not waited for until now"
    driven.pass_time(1)
    assert driven.status == 408


async def test_a_client_that_does_not_read_is_reset():
    driven = Driven()
    driven.feed(GET)
    driven.unsent = 1000
    driven.pass_time(STALL_SECONDS)
    assert driven.calls == []
    driven.pass_time(1)
    assert driven.calls == ["reset", "abort"]


async def test_a_client_that_reads_slowly_has_all_the_time_it_needs():
    driven = Driven()
    driven.feed(GET)
    for left in range(10, 0, -1):
        driven.unsent = left
        driven.pass_time(STALL_SECONDS)
    assert driven.calls == []


async def test_a_client_that_reads_while_the_kernel_asks_for_no_more_has_all_the_time_it_needs():
    """The kernel asks when a third of its buffer is free, and that may be 4 MB."""
    driven = Driven()
    driven.feed(GET)
    driven.unsent = 1000
    driven.acked = 7000
    driven.pass_time(1)
    for _ in range(10):
        driven.acked += 1
        driven.pass_time(STALL_SECONDS)
    assert driven.calls == []
    driven.pass_time(STALL_SECONDS)
    driven.pass_time(1)
    assert driven.calls == ["reset", "abort"]


@pytest.mark.parametrize("behind", [b"", GET], ids=["the last request", "a request behind it"])
async def test_the_rest_of_the_last_answer_waits_for_its_reader_and_no_longer_than_it_reads(behind: bytes):
    driven = Driven()
    driven.feed(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n" + behind)
    driven.unsent = 2
    driven.answer()
    ended = [*driven.calls]
    assert ended[-1] in {"close", "half_close", "resume"}
    driven.pass_time(LINGER_SECONDS + 1)
    driven.unsent = 1
    driven.pass_time(STALL_SECONDS)
    assert driven.calls == ended
    driven.pass_time(STALL_SECONDS)
    driven.pass_time(1)
    assert driven.calls == [*ended, "reset", "abort"]


async def test_a_client_that_sends_on_behind_the_last_answer_is_read_for_a_moment():
    driven = Driven()
    driven.feed(b"GET / HTTP/1.2\r\nHost: test\r\n\r\n")
    assert (driven.status, driven.calls) == (400, ["half_close"])
    driven.feed(GET)
    driven.pass_time(LINGER_SECONDS)
    assert driven.calls == ["half_close"]
    driven.pass_time(1)
    assert driven.calls == ["half_close", "abort"]
    assert driven.requests == []


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


async def test_requests_behind_answers_that_nobody_reads_are_not_begun():
    driven = Driven()
    driven.feed(GET * 3)
    driven.connection.pause_writing()
    driven.answer()
    assert (len(driven.requests), driven.calls) == (1, ["pause"])
    driven.connection.resume_writing()
    assert len(driven.requests) == 2
    driven.answer()
    driven.answer()
    assert driven.calls == ["pause", "resume"]


async def test_an_application_that_has_sent_all_does_not_wait_for_a_client_that_reads_slowly():
    """It would be cancelled as one that goes on too long after its answer."""
    driven = Driven()
    driven.feed(GET)
    request = driven.requests[-1]
    driven.connection.pause_writing()
    assert not await ends(request.send({"type": "http.response.start", "status": 200}))
    assert not await ends(request.send({"type": "http.response.body", "body": b"a", "more_body": True}))
    assert await ends(request.send({"type": "http.response.body", "body": b"b"}))
    assert await ends(request.send({"type": "http.response.body", "body": b"behind the end"}))
    assert driven.sent.endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")


async def ends(sending: Coroutine[Any, Any, None]) -> bool:
    """Whether a send ends without waiting; else it is given up."""
    task = asyncio.ensure_future(sending)
    await asyncio.sleep(0)
    done = task.done()
    task.cancel()
    return done


async def test_answers_of_the_server_itself_do_not_pile_up_either():
    """A handshake that is refused needs no application, and is answered in the read in which it comes."""
    driven = Driven()
    refused = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    driven.feed(refused * 2)
    assert driven.sent.count(b"HTTP/1.1 426") == 2
    driven.connection.pause_writing()
    driven.feed(refused * 2)
    assert (driven.sent.count(b"HTTP/1.1 426"), driven.calls) == (2, ["pause"])
    driven.connection.resume_writing()
    assert (driven.sent.count(b"HTTP/1.1 426"), driven.calls) == (4, ["pause", "resume"])


async def test_a_client_that_waits_to_be_asked_is_asked_once_and_has_its_time_from_then_on():
    driven = Driven()
    driven.feed(EXPECTS)
    driven.pass_time(10 * STALL_SECONDS)
    assert driven.sent == b""
    receiving = asyncio.create_task(driven.requests[-1].receive())
    await asyncio.sleep(0)
    assert driven.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    driven.pass_time(STALL_SECONDS)
    driven.feed(b"ab")
    assert (await receiving)["body"] == b"ab"
    driven.answer()
    assert driven.sent.count(b"HTTP/1.1 ") == 2


async def test_nobody_is_asked_for_a_body_behind_the_answer():
    driven = Driven()
    driven.feed(EXPECTS)
    driven.answer()
    assert (await driven.requests[-1].receive())["type"] == "http.disconnect"
    assert driven.status == 200
    assert b"\r\nConnection: close\r\n" in driven.sent
    assert driven.calls == ["half_close"]


EXPECTS = b"POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"


async def test_a_client_that_has_no_address_any_more_is_not_taken_for_a_local_one():
    """Reset before it was accepted, it has sent a request all the same."""
    driven = Driven()
    driven.family = socket.AF_INET
    driven.feed(GET)
    assert (driven.requests, driven.calls) == ([], ["abort"])


async def test_a_connection_is_busy_until_its_answer_is_with_the_kernel():
    driven = Driven()
    busy = [driven.connection.busy]
    driven.feed(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na")
    busy.append(driven.connection.busy)  # the body is still coming
    driven.feed(b"b")
    driven.unsent = 1
    driven.answer()
    busy.append(driven.connection.busy)
    driven.unsent = 0
    assert [*busy, driven.connection.busy] == [False, True, True, False]


async def test_a_connection_that_is_lost_is_not_busy():
    driven = Driven()
    driven.feed(GET)
    driven.connection.connection_lost(None)
    assert not driven.connection.busy
    assert driven.http_connections == set()
    assert (await driven.requests[-1].receive())["type"] == "http.request"
    assert (await driven.requests[-1].receive())["type"] == "http.disconnect"


async def test_a_head_that_comes_again_serves_again_and_another_one_is_read():
    driven = Driven()
    post = b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n"
    for data in (post + b"one", post + b"two", GET + post, b"six", post[:-2], b"\r\nend"):
        driven.feed(data)
        if driven.requests and not driven.requests[-1].finished and driven.requests[-1].whole:
            driven.answer()
    bodies = [(await request.receive()) for request in driven.requests]
    assert [request.head.target for request in driven.requests] == [b"/a", b"/a", b"/", b"/a", b"/a"]
    assert [body.get("body") for body in bodies] == [b"one", b"two", b"", b"six", b"end"]


async def test_a_head_that_comes_again_is_no_one_elses_to_change():
    driven = Driven()
    scopes = Scopes(Proxies(), "", "", "")
    for _ in range(2):
        driven.feed(GET)
        request = driven.requests[-1]
        scope = scopes.scope("http", request.head, request.peer)
        assert scope["headers"] == [(b"host", b"test")]
        scope["headers"].append((b"x-user", b"admin"))
        driven.answer()
