"""HTTP as real clients and proxies send it, byte for byte, to our server, plain Daphne and uvicorn."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPResponse
from typing import Any, Final

import pytest
from django.conf import settings

from tests.reported.conftest import read_until
from tests.server.plain import client_frame, handshake
from tests.services.databases import ADMIN_PASSWORD, Databases
from tests.services.limits import let_everybody_log_in
from tests.services.ports import LOOPBACK
from tests.services.server import API_KEY, Server

pytestmark = pytest.mark.once  # nothing of it reaches a store or another process

RUNNERS: Final = ("serve", "daphne", "uvicorn")
SECONDS: Final = 60
"""A limit for what hangs, not a measure."""
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data; boundary=edge"
KEY: Final[dict[str, Any]] = {"X-API-Key": API_KEY}
CSRF: Final = "c" * 32
MEGABYTE: Final = 1_000_000


@pytest.fixture(scope="module")
def servers(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """The three servers, on one database."""
    options = {"DATABASE_URL": databases.create(), "REDIS_URL": settings.REDIS_URL}
    started = {name: Server(tmp_path_factory.mktemp(name), options, name) for name in RUNNERS}
    try:
        started["serve"].start()  # makes the key that all of them know
        for name in RUNNERS[1:]:
            started[name].start()
        let_everybody_log_in(started["serve"])
        yield started
        assert [name for name, one in started.items() if "Traceback" in one.log_text()] == []
    finally:
        for one in started.values():
            one.close()
        databases.drop(options["DATABASE_URL"])


@pytest.fixture(params=RUNNERS)
def port(servers: dict[str, Server], request: pytest.FixtureRequest) -> int:
    """Of each server in turn."""
    return servers[request.param].port


@pytest.fixture
def ours(servers: dict[str, Server]) -> int:
    """The port of our server alone."""
    return servers["serve"].port


class Answer:
    """A response that was read to its end."""

    def __init__(self, response: HTTPResponse) -> None:
        response.begin()
        self.status = response.status
        found = response.headers
        self.headers = {name.lower(): ", ".join(found.get_all(name, ())) for name in found}
        self.cookies = response.headers.get_all("set-cookie") or []
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.status} {self.headers} {self.body[:300]!r}"


class Stream(io.BufferedReader):
    """The answers of one connection, one behind the other; each would close what it reads from."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection.makefile("rb", buffering=0))

    def makefile(self, mode: str) -> Stream:
        return self

    def close(self) -> None:
        """Not before the `with` ends."""

    def __exit__(self, *error: object) -> None:
        super().close()


def dial(port: int) -> socket.socket:
    return socket.create_connection((LOOPBACK, port), timeout=SECONDS)


def head(method: str, target: str, **headers: object) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in ({"Host": "h"} | headers).items()]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()


def chunks(body: bytes) -> bytes:
    """A body without a length; it comes in pieces of a size that divides nothing."""
    pieces = [body[at : at + 60_001] for at in range(0, len(body), 60_001)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def ask(
    port: int, method: str, target: str, body: bytes = b"", framing: str = "", **headers: object
) -> Answer:
    """One request on a connection of its own; `framing` is `chunked`, `length` or nothing."""
    if framing == "chunked":
        headers["Transfer-Encoding"], body = "chunked", chunks(body)
    elif framing:
        headers["Content-Length"] = len(body)
    with dial(port) as connection:
        connection.sendall(head(method, target, **headers) + body)
        return Answer(HTTPResponse(connection, method=method))


def multipart(**fields: str) -> bytes:
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return "".join([*parts, "--edge--\r\n"]).encode()


def log_in(port: int) -> Answer:
    """Through the form of the admin, as multipart and in chunks."""
    fields = {"username": "admin", "password": ADMIN_PASSWORD, "csrfmiddlewaretoken": CSRF}
    cookie = {"Cookie": f"csrftoken={CSRF}"}
    return ask(
        port, "POST", "/admin/login/", multipart(**fields), "chunked", Content_Type=MULTIPART, **cookie
    )


# --- bodies in chunks, without Content-Length ------------------------------------------------------------


@pytest.fixture
def token(port: int) -> Iterator[str]:
    """The path of a token's row."""
    made = ask(port, "POST", "/api/tokens/", b'{"token":"chunked"}', "length", Content_Type=JSON, **KEY)
    assert made.status == 201, made
    path = f"/api/tokens/{made.json['id']}/"
    yield path
    ask(port, "DELETE", path, **KEY)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_change_in_chunks_is_made(port: int, token: str, method: str) -> None:
    body = b'{"token":"chunked","enabled":false}'
    answer = ask(port, method, token, body, "chunked", Content_Type=JSON, **KEY)

    assert (answer.status, answer.json["enabled"]) == (200, False)
    assert ask(port, "GET", token, **KEY).json["enabled"] is False


PUBLISHED: Final = {
    "small": json.dumps({"addresses": ["token:a"], "message": "m"}).encode(),
    "over 256 KiB": json.dumps({"addresses": ["token:a"], "message": "m" * 300_000}).encode(),
}


@pytest.mark.parametrize("body", PUBLISHED.values(), ids=PUBLISHED)
def test_a_publication_in_chunks_is_made(port: int, body: bytes) -> None:
    assert ask(port, "POST", "/api/publish", body, "chunked", Content_Type=JSON, **KEY).status == 200


def test_a_staff_session_made_in_chunks_publishes_in_chunks(port: int) -> None:
    logged_in = log_in(port)
    assert logged_in.status == 302, logged_in
    cookies = "; ".join(cookie.partition(";")[0] for cookie in logged_in.cookies)
    csrf = next(part[10:] for part in cookies.split("; ") if part.startswith("csrftoken="))

    for body in PUBLISHED.values():
        answer = ask(
            port,
            "POST",
            "/api/publish",
            body,
            "chunked",
            Content_Type=JSON,
            Cookie=cookies,
            X_CSRFToken=csrf,
        )
        assert answer.status == 200, answer


@pytest.mark.parametrize("path", ["/", "/api/"])
@pytest.mark.parametrize("kind", [MULTIPART, FORM, JSON], ids=["multipart", "form", "json"])
def test_the_form_api_reads_chunks(port: int, path: str, kind: str) -> None:
    bodies = {
        MULTIPART: multipart(method="registerToken", token="form"),
        FORM: b"method=registerToken&token=form",
        JSON: b'{"method":"registerToken","token":"form"}',
    }
    answer = ask(port, "POST", path, bodies[kind], "chunked", Content_Type=kind, **KEY)

    assert answer.status == 200, answer
    assert answer.json["ok"] is True


def test_an_empty_body_in_chunks_is_an_empty_body(port: int) -> None:
    answer = ask(port, "POST", "/api/tokens/", b"", "chunked", Content_Type=JSON, **KEY)
    assert (answer.status, list(answer.json)) == (400, ["token"])


def test_polling_reads_chunks(port: int) -> None:
    sid = open_session(port)
    answer = ask(port, "POST", polling(sid), b"40", "chunked", Content_Type="text/plain")

    assert (answer.status, answer.body) == (200, b"ok")


def polling(sid: str = "", version: int = 4) -> str:
    return f"/socket.io/?EIO={version}&transport=polling" + (f"&sid={sid}" if sid else "")


def open_session(port: int) -> str:
    answer = ask(port, "GET", polling())
    assert answer.status == 200, answer
    return str(json.loads(answer.body[1:])["sid"])


# --- one limit, however the body comes -------------------------------------------------------------------

LARGE: Final = {
    "a message for a room": ("/bus-message/r1", JSON, 2 * MEGABYTE, "text/html"),
    "a message for a room a little over": ("/bus-message/r1", JSON, 102_401, "text/html"),
    "publish": ("/api/publish", JSON, 3 * MEGABYTE, JSON),
    "REST": ("/api/tokens/", JSON, 3 * MEGABYTE, JSON),
    "REST a little over": ("/api/tokens/", JSON, 2_621_441, JSON),
    "the form API by JSON": ("/", JSON, 3 * MEGABYTE, JSON),
    "the form API by form": ("/api/", FORM, 3 * MEGABYTE, JSON),
    "the form API by multipart": ("/", MULTIPART, 3 * MEGABYTE, JSON),
    "an account": ("/user/register", JSON, 3 * MEGABYTE, JSON),
    "the admin by form": ("/admin/login/", FORM, 3 * MEGABYTE, "text/plain"),
    "the admin by multipart": ("/admin/login/", MULTIPART, 3 * MEGABYTE, "text/plain"),
}


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
def test_a_body_over_the_limit_is_413(port: int, case: tuple[str, str, int, str], framing: str) -> None:
    path, kind, size, answered = case
    body = (
        multipart(method="broadcast", message=" " * size) if kind == MULTIPART else b"[" + b" " * (size - 1)
    )
    headers = {"Content-Type": kind, "Cookie": f"csrftoken={CSRF}", **KEY}
    answer = ask(port, "POST", path, body, framing, **headers)

    assert answer.status == 413, answer
    assert answer.headers["content-type"].partition(";")[0] == answered


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_poll_over_the_limit_is_413(port: int, framing: str) -> None:
    body = b"4" + b"x" * (MEGABYTE + 1)
    answer = ask(port, "POST", polling(open_session(port)), body, framing, Content_Type="text/plain")

    assert answer.status == 413, answer


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_of_the_limit_is_read(port: int, framing: str) -> None:
    spaces = b" " * (2_621_440 - len(PUBLISHED["small"]))
    answer = ask(port, "POST", "/api/publish", PUBLISHED["small"] + spaces, framing, Content_Type=JSON, **KEY)

    assert answer.status == 200, answer


# --- 100 Continue ----------------------------------------------------------------------------------------

UNWANTED: Final = {
    "a room's message over its limit": ("/bus-message/r1", 2 * MEGABYTE, 413),
    "REST over its limit": ("/api/tokens/", 3 * MEGABYTE, 413),
    "more than the server takes": ("/api/tokens/", 10**12, 413),
    "polling over its limit": ("", 2 * MEGABYTE, 413),
    "an unknown session": (polling("unknown"), 10, 400),
    "a path of sockets": ("/ws", 10, 426),
}


@pytest.mark.parametrize("runner", ["serve", "uvicorn"])  # plain Daphne asks before the application knows
@pytest.mark.parametrize("case", UNWANTED.values(), ids=UNWANTED)
def test_nobody_is_asked_for_a_body_that_is_refused(
    servers: dict[str, Server], runner: str, case: tuple[str, int, int]
) -> None:
    port = servers[runner].port
    path, size, status = case
    target = path or polling(open_session(port))
    request = head("POST", target, Content_Length=size, Expect="100-continue", Content_Type=JSON, **KEY)
    with dial(port) as connection, closing(connection.makefile("rb")) as stream:
        connection.sendall(request)
        assert stream.readline().split()[1] == str(status).encode()


def test_an_answer_before_the_body_ends_the_connection(ours: int) -> None:
    request = head("POST", "/bus-message/r1", Content_Length=2 * MEGABYTE, Expect="100-continue")
    with dial(ours) as connection, closing(connection.makefile("rb")) as stream:
        connection.sendall(request + b"x" * 100_000)  # a client that does not wait
        assert b"\r\nConnection: close\r\n" in stream.read()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_client_that_is_asked_for_its_body_is_served(port: int, framing: str) -> None:
    body = PUBLISHED["over 256 KiB"]
    framed = {"Transfer_Encoding": "chunked"} if framing == "chunked" else {"Content_Length": len(body)}
    request = head("POST", "/api/publish", Expect="100-continue", Content_Type=JSON, **framed, **KEY)
    with dial(port) as connection, closing(connection.makefile("rb", buffering=0)) as stream:
        for _ in range(2):  # and the connection serves on
            connection.sendall(request)
            assert stream.readline().split()[1] == b"100"
            assert stream.readline() == b"\r\n"
            connection.sendall(chunks(body) if framing == "chunked" else body)
            assert Answer(HTTPResponse(connection, method="POST")).status == 200


# --- targets ---------------------------------------------------------------------------------------------

TARGETS: Final = {
    "absolute": "http://h/healthcheck",
    "absolute with port and query": "http://h:8000/healthcheck?x=http://y/",
    "absolute, in capitals": "HTTP://H/healthcheck",
    "absolute over TLS": "https://h/healthcheck",
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_target_may_be_a_whole_url(port: int, target: str) -> None:
    answer = ask(port, "GET", target)
    assert (answer.status, answer.body) == (200, b"OK")


@pytest.mark.parametrize("runner", ["serve", "uvicorn"])  # plain Daphne keeps it to itself for sockets
def test_the_host_of_a_whole_url_counts(servers: dict[str, Server], runner: str) -> None:
    """And not the header, where both are there: one origin is `self`, the other is not."""
    port = servers[runner].port
    statuses = []
    for origin in ("http://localhost", "http://127.0.0.1"):
        with dial(port) as connection, closing(connection.makefile("rb")) as stream:
            connection.sendall(handshake("http://localhost/ws", host="127.0.0.1", origin=origin))
            statuses.append(int(stream.readline().split()[1]))

    assert statuses == [101, 403]


@pytest.mark.parametrize(
    "target", ["/socket.io?EIO=4&transport=polling", "http://h/socket.io?EIO=4&transport=polling"]
)
def test_the_last_slash_of_the_endpoint_may_be_missing(port: int, target: str) -> None:
    answer = ask(port, "GET", target)
    assert (answer.status, answer.body[:2]) == (200, b"0{")


@pytest.mark.parametrize("path", ["/socket.io?EIO=4&transport=websocket", "/ws/", "/layout/"])
def test_a_socket_opens_with_and_without_the_last_slash(port: int, path: str) -> None:
    with dial(port) as connection, closing(connection.makefile("rb")) as stream:
        connection.sendall(handshake(path, host="h"))
        assert stream.readline().split()[1] == b"101"


# --- what a proxy leaves of a handshake ------------------------------------------------------------------

SOCKETS: Final = (
    "/",
    "/websocket",
    "/connection",
    "/ws",
    "/layout",
    "/bus",
    "/lobby",
    "/trigger",
    "/socket.io/",
)


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_handshake_without_upgrade_names_the_fault(port: int, path: str, version: str) -> None:
    query = "?EIO=4&transport=websocket" if path == "/socket.io/" else ""
    request = handshake(path + query, upgrade=None, connection="close")
    with dial(port) as connection:
        connection.sendall(request.replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        answer = Answer(HTTPResponse(connection))

    assert answer.status == 426
    assert answer.headers["upgrade"] == "websocket"
    assert "upgrade" in answer.headers["connection"].lower()
    assert answer.body.count(b"\n") == 1
    assert b"proxy" in answer.body


def test_a_page_at_a_socket_path_says_so_and_others_are_not_found(port: int) -> None:
    assert ask(port, "GET", "/ws").status == 426
    assert ask(port, "GET", "/nothing").status == 404
    assert ask(port, "GET", "/", Accept="text/html").status == 302


def test_a_handshake_at_an_unknown_path_is_told_which_there_are(ours: int) -> None:
    with dial(ours) as connection:
        connection.sendall(handshake("/wss", host="h"))
        answer = Answer(HTTPResponse(connection))

    assert answer.status == 403
    assert all(path.encode() in answer.body for path in SOCKETS)


@pytest.mark.parametrize("path", ["/api/docs", "/api/schema"])
def test_a_page_of_the_api_has_its_path_with_a_last_slash_or_without(ours: int, path: str) -> None:
    bare, slashed = (ask(ours, "GET", each).status for each in (path, f"{path}/"))

    assert bare == slashed == 200


def test_a_fault_of_the_client_is_no_warning_in_the_log(servers: dict[str, Server]) -> None:
    assert ask(servers["serve"].port, "GET", "/nothing").status == 404
    assert ask(servers["serve"].port, "GET", "/api/clients/").status == 401

    assert "WARNING django.request" not in servers["serve"].log_text()


def test_upgrade_without_connection_is_426(ours: int) -> None:
    with dial(ours) as connection:
        connection.sendall(handshake("/ws", connection="close"))
        answer = Answer(HTTPResponse(connection))

    assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")


# --- more in one segment than one request: our server alone ----------------------------------------------


def test_frames_in_the_segment_of_the_handshake_are_read(ours: int) -> None:
    with dial(ours) as connection, closing(connection.makefile("rb")) as stream:
        frames = client_frame(9, b"first") + client_frame(9, b"second")
        connection.sendall(handshake("/bus", host="h") + frames)
        received = read_until(stream, b"second")

    assert received.index(b"\x8a\x05first") < received.index(b"\x8a\x06second")


def test_a_large_frame_behind_the_handshake_is_read(ours: int) -> None:
    """More than is kept for a request that waits for its turn."""
    with dial(ours) as connection, closing(connection.makefile("rb")) as stream:
        long = client_frame(2, b"x" * 40_000, final=False) + client_frame(0, b"", final=True)
        connection.sendall(handshake("/bus", host="h") + client_frame(9, b"first") + long)
        received = read_until(stream, b"\x88")

    assert b"\x8a\x05first" in received


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("together", [True, False], ids=["in one segment", "later"])
def test_a_request_behind_a_waiting_poll_is_served(ours: int, version: int, together: bool) -> None:
    body = b"7:40/bus," if version == 3 else b"40/bus,"
    with dial(ours) as connection, Stream(connection) as stream:

        def one(method: str, sid: str = "", body: bytes = b"") -> bytes:
            target = f"{polling(sid, version)}&b64=1"
            length = {"Content_Length": len(body), "Content_Type": "text/plain"} if body else {}
            return head(method, target, **length) + body

        def answer() -> bytes:
            return Answer(HTTPResponse(stream)).body  # type: ignore[arg-type]

        connection.sendall(one("GET"))
        opening = answer()
        sid = json.loads(opening[opening.index(b"{") : opening.index(b"}") + 1])["sid"]
        if version == 3:
            connection.sendall(one("GET", sid))
            assert answer() == b"2:40"
        poll, post = one("GET", sid), one("POST", sid, body)
        if together:
            connection.sendall(poll + post)
        else:
            connection.sendall(poll)
            connection.sendall(post)

        assert answer() == (b"1:6" if version == 3 else b"6")
        assert answer() == b"ok"
        connection.sendall(one("GET", sid))
        assert b"40/bus" in answer()
