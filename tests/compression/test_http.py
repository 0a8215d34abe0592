"""Answers in gzip: to whom, which, and none that is a stream."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest

from routing_app.core.rest.compression import IN_PLACE, LARGEST, SMALLEST, Gzip, accepts_gzip
from tests.services.databases import Databases
from tests.services.ports import LOOPBACK
from tests.services.running import running
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once  # nothing of it reaches a store or another process

# --- the middleware ---------------------------------------------------------------------------------------


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_gzip(self) -> bool:
        return self.headers.get("content-encoding") == "gzip"

    def text(self) -> bytes:
        """The body as the view made it."""
        return gzip.decompress(self.body) if self.is_gzip else self.body


async def ask(
    *parts: bytes,
    status: int = 200,
    headers: dict[str, str] | None = None,
    accept: str | None = "gzip, deflate, br",
    method: str = "GET",
    length: bool = True,
) -> Answer:
    """The answer that a view makes in these parts, through the middleware."""
    said = {"content-type": "application/json", **(headers or {})}
    if length:
        said["content-length"] = str(sum(map(len, parts)))

    async def view(scope: Any, receive: Any, send: Any) -> None:
        pairs = [(name.encode(), value.encode()) for name, value in said.items() if value]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    request = [] if accept is None else [(b"accept-encoding", accept.encode())]
    await Gzip(view)({"type": "http", "method": method, "headers": request}, None, send)
    assert not sent[-1].get("more_body")
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(message["body"] for message in sent[1:]))


ROWS = json.dumps([{"id": number, "name": "anna"} for number in range(100)]).encode()


@pytest.mark.parametrize("times", [1, 20, 1000])
async def test_an_answer_is_compressed(times: int) -> None:
    assert len(ROWS) < IN_PLACE < len(ROWS * 20)
    answer = await ask(ROWS * times, headers={"etag": '"x"', "cache-control": "no-store"})

    assert answer.is_gzip
    assert answer.text() == ROWS * times
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["etag"] == 'W/"x"'
    assert answer.headers["cache-control"] == "no-store"


async def test_an_answer_in_parts_is_one() -> None:
    answer = await ask(ROWS, b"", ROWS)

    assert (answer.is_gzip, answer.text()) == (True, ROWS * 2)


async def test_the_length_of_an_answer_differs_from_time_to_time() -> None:
    """As long as it is, it tells no more of what stands in it than a few hundred answers can average out."""
    lengths = {len((await ask(ROWS)).body) for _ in range(20)}

    assert len(lengths) > 1
    assert max(lengths) - min(lengths) <= 100


PLAIN: dict[str, tuple[bytes, dict[str, Any]]] = {
    "short": (b"x" * SMALLEST, {}),
    "image": (ROWS, {"headers": {"content-type": "image/png"}}),
    "no type": (ROWS, {"headers": {"content-type": ""}}),
    "compressed already": (ROWS, {"headers": {"content-encoding": "br"}}),
    "not to be changed": (ROWS, {"headers": {"cache-control": "public, no-transform"}}),
    "part": (ROWS, {"status": 206}),
    "of a cookie": (ROWS, {"headers": {"vary": "Accept, Cookie"}}),
    "events": (ROWS, {"headers": {"content-type": "text/event-stream"}}),
    "stream": (ROWS, {"length": False}),
    "very long": (b"x" * (LARGEST + 1), {}),
    "head": (ROWS, {"method": "HEAD"}),
    "not accepted": (ROWS, {"accept": "br"}),
    "no header": (ROWS, {"accept": None}),
    "not shorter": (secrets.token_bytes(2000), {"headers": {"content-type": "application/octet-stream"}}),
}


@pytest.mark.parametrize("name", PLAIN)
async def test_an_answer_that_stays_as_it_is(name: str) -> None:
    body, options = PLAIN[name]
    answer = await ask(body, **options)

    assert not answer.is_gzip
    assert answer.body == body


async def test_a_stream_goes_out_part_by_part() -> None:
    sent: list[Any] = []

    async def view(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        await send({"type": "http.response.body", "body": b"x" * 2000, "more_body": True})
        assert len(sent) == 2
        await send({"type": "http.response.body", "body": b"y"})

    async def send(message: Any) -> None:
        sent.append(message)

    await Gzip(view)({"method": "GET", "headers": [(b"accept-encoding", b"gzip")]}, None, send)
    assert [message.get("body") for message in sent] == [None, b"x" * 2000, b"y"]


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("*;q=0, gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("identity", False),
        ("gzipped", False),
        ("", False),
    ],
)
def test_who_accepts_gzip(value: str, accepted: bool) -> None:
    assert accepts_gzip([(b"accept-encoding", value.encode())]) is accepted


# --- servers ----------------------------------------------------------------------------------------------


def get(server: Server, path: str, accept: str = "gzip", method: str = "GET", body: bytes = b"") -> Answer:
    """What a server answers; nothing is inflated on the way."""
    connection = HTTPConnection(LOOPBACK, server.port, timeout=60)
    try:
        headers = {"Accept-Encoding": accept, "X-API-Key": server.api_key}
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


@pytest.fixture(scope="module", params=["serve", "daphne", "uvicorn"])
def any_server(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that compresses, under each of the servers that it can run under."""
    if request.param == "serve":
        yield request.getfixturevalue("broker")
        return
    options = {"COMPRESSION": "yes", "METRICS_OPEN": "yes"}
    with running(databases, tmp_path_factory.mktemp("compression"), request.param, **options) as server:
        yield server


PATHS = ["/static/console/console.css", "/static/admin/css/base.css", "/metrics"]


@pytest.mark.parametrize("path", PATHS)
def test_pages_and_answers_come_in_gzip(any_server: Server, path: str) -> None:
    packed, plain = get(any_server, path), get(any_server, path, "identity")

    assert (packed.status, packed.is_gzip, plain.is_gzip) == (200, True, False)
    assert len(packed.body) < len(plain.body)
    assert packed.text()[:100] == plain.body[:100]
    assert "Accept-Encoding" in plain.headers["vary"]


def test_a_page_that_depends_on_a_cookie_comes_as_it_is(any_server: Server) -> None:
    page = get(any_server, "/admin/login/?next=/admin/")

    assert len(page.body) > SMALLEST
    assert "Cookie" in page.headers["vary"]
    assert not page.is_gzip


def test_a_long_answer_comes_in_gzip(broker: Server) -> None:
    packed, plain = get(broker, "/api/schema"), get(broker, "/api/schema", "identity")

    assert len(plain.body) > IN_PLACE
    assert packed.is_gzip
    assert packed.text() == plain.body


def test_a_short_answer_comes_as_it_is(broker: Server) -> None:
    def answer() -> Answer | None:
        found = get(broker, "/health/ready")
        return found if found.status == 200 else None

    assert not wait_until(answer).is_gzip


def poll(server: Server, query: str, **options: Any) -> Answer:
    return get(server, f"/socket.io/?EIO=4&transport=polling{query}", **options)


async def test_a_long_poll_comes_in_gzip(broker: Server) -> None:
    """Two sessions: one sends to the other a message that is long, and one that is short."""
    room, text = secrets.token_hex(4), "long " * 1000
    sids = []
    for name in ("one", "two"):
        opened = await asyncio.to_thread(poll, broker, "")
        assert not opened.is_gzip
        sids.append(json.loads(opened.body[1:])["sid"])
        join = json.dumps(["JOIN", json.dumps({"room": room, "name": name})])
        for packet in ("40/layout,", f"42/layout,1{join}"):
            await asyncio.to_thread(poll, broker, f"&sid={sids[-1]}", method="POST", body=packet.encode())
        seen = b""
        while b"43/layout,1" not in seen:
            seen += (await asyncio.to_thread(poll, broker, f"&sid={sids[-1]}")).text()
    for message, is_gzip in ((text, True), ("short", False)):
        notify = json.dumps(["NOTIFY", json.dumps({"room": room, "message": message})])
        await asyncio.to_thread(
            poll, broker, f"&sid={sids[0]}", method="POST", body=f"42/layout,{notify}".encode()
        )
        answer = await asyncio.to_thread(poll, broker, f"&sid={sids[1]}")
        assert answer.is_gzip is is_gzip
        assert message.encode() in answer.text()


def test_without_the_setting_nothing_is_compressed(plain_broker: Server) -> None:
    for path in PATHS:
        answer = get(plain_broker, path)
        assert (answer.status, answer.is_gzip) == (200, False)
        assert "Accept-Encoding" not in answer.headers.get("vary", "")
