"""Admission: each input that was reported, with its right answer, on a real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final
from uuid import uuid4

import pytest
from django.conf import settings
from websockets.sync.client import connect

from sessions_app import session_tokens
from tests.events.client import PUBLIC, new_user
from tests.services.databases import Databases
from tests.services.handshake import ask, shake, shaken
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once  # nothing of it reaches a store or another process

Open = Callable[..., Server]

SOCKET_IO: Final = "/socket.io/?EIO=4&transport=websocket"
POLLING: Final = "/socket.io/?EIO=4&transport=polling"
SOCKETS: Final = {
    "tokens": "/ws",
    "events": "/websocket",
    "requests": "/connection",
    "layout": "/layout",
    "bus": "/bus",
    "lobby": "/lobby?lobbyId=l",
    "trigger": "/trigger",
    "socket.io 3 and 4": SOCKET_IO,
    "socket.io 1 and 2": "/socket.io/?EIO=3&transport=websocket",
    "sessions": "/?token={token}",
}


@pytest.fixture(scope="module")
def launch(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Start servers that end with the module."""
    with ExitStack() as stack:

        def start(**options: str) -> Server:
            url = databases.create()
            stack.callback(databases.drop, url)
            basic = {"DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL}
            server = Server(tmp_path_factory.mktemp("reported"), basic | options)
            stack.callback(server.close)
            server.start()
            return server

        yield start


@pytest.fixture(scope="module")
def named(launch: Open) -> Server:
    """A server that answers to its own names only, and admits pages of app shells."""
    return launch(
        ALLOWED_HOSTS="127.0.0.1,.good.example", TOKENS_ORIGINS=f"self,{','.join(SHELLS)},https://*.a.example"
    )


@pytest.fixture(scope="module")
def small(launch: Open) -> Server:
    """A server with room for three, two of a network, behind a proxy."""
    return launch(
        MAX_CONNECTIONS="3",
        MAX_CONNECTIONS_PER_PEER="2",
        TRUSTED_PROXIES="127.0.0.1",
        CSRF_TRUSTED_ORIGINS="https://trusted.example",
    )


@pytest.fixture
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A socket path; that of sessions with a token that servers of these tests have made."""
    template: str = request.param
    if "{token}" not in template:
        return template
    server: Server = request.getfixturevalue("small" if "small" in request.fixturenames else "named")
    monkeypatch.setattr(settings, "SECRET_KEY", server.env["SECRET_KEY"])
    return template.format(token=session_tokens.sign(session_tokens.SessionToken(uuid4(), "demo", "alice")))


every_socket = pytest.mark.parametrize("path", SOCKETS.values(), ids=SOCKETS, indirect=True)

# --- subprotocols ----------------------------------------------------------------------------------------


@every_socket
def test_the_first_offered_subprotocol_is_answered(named: Server, path: str) -> None:
    offered = shake(named.port, path, ("Sec-WebSocket-Protocol", "arduino, x"))
    assert (offered.status, offered.header("sec-websocket-protocol")) == (101, "arduino")
    nothing = shake(named.port, path)
    assert (nothing.status, nothing.header("sec-websocket-protocol")) == (101, None)


def test_receipts_are_chosen_wherever_they_are_offered(named: Server) -> None:
    offered = shake(named.port, "/connection", ("Sec-WebSocket-Protocol", "wyre, wyre.receipt"))
    assert offered.header("sec-websocket-protocol") == "wyre.receipt"


# --- origins and hosts -----------------------------------------------------------------------------------

SHELLS: Final = [
    "capacitor://localhost",
    "ionic://localhost",
    "tauri://localhost",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "file://",
    "null",
]
ORIGINS: Final = dict.fromkeys(SHELLS, 101) | {
    "https://x.a.example": 101,
    "https://*.a.example": 403,
    "https://*.x.a.example": 403,
    "capacitor://other": 403,
    "ionic://127.0.0.1": 403,
    "chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba": 403,
    "file:///home": 403,
    "": 403,
}


@pytest.mark.parametrize(("origin", "status"), ORIGINS.items())
def test_app_shells_are_listed_one_by_one(named: Server, origin: str, status: int) -> None:
    assert shake(named.port, "/ws", ("Origin", origin)).status == status


@every_socket
@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "good.example.evil.example", "a b"])
def test_a_socket_asked_for_by_another_host_is_refused(named: Server, path: str, host: str) -> None:
    host = host.format(port=named.port)
    assert shake(named.port, path, ("Origin", f"http://{host}"), host=host).status == 400


@every_socket
def test_a_socket_asked_for_by_a_listed_host_opens(named: Server, path: str) -> None:
    for host in ("good.example", "X.Good.Example:8000"):
        assert shake(named.port, path, ("Origin", f"http://{host}"), host=host).status == 101


REQUESTS: Final = {
    "sessions": ("POST", "/sessions", 401),
    "takeover": ("POST", "/takeover", 401),
    "form API": ("POST", "/", 400),
    "form API, broadcast": ("POST", "/?method=broadcast&message=x|y", 401),
    "publish": ("POST", "/api/publish", 401),
    "polling": ("GET", POLLING, 200),
    "bus message": ("POST", "/bus-message/r", 200),
    "healthcheck": ("GET", "/healthcheck", 200),
    "console": ("GET", "/console/", 302),
    "REST": ("GET", "/api/clients/", 401),
}


@pytest.mark.parametrize(("method", "path", "status"), REQUESTS.values(), ids=REQUESTS)
def test_http_by_another_host_is_refused(named: Server, method: str, path: str, status: int) -> None:
    assert ask(named.port, method, path, host="evil.example").status == 400
    assert ask(named.port, method, path, host="good.example").status == status


def test_health_is_asked_by_any_name(named: Server) -> None:
    assert ask(named.port, "GET", "/health/live", host="10.0.0.7").status == 200


REBOUND: Final = {
    "evil.example": 403,
    "evil.example:{port}": 403,
    "localhost.evil.example:{port}": 403,
    "localhost:{port}": 101,
    "app.localhost:{port}": 101,
    "127.0.0.1:{port}": 101,
    "[::1]:{port}": 101,
}


@pytest.mark.parametrize(("host", "status"), REBOUND.items())
def test_self_admits_no_rebound_page_although_any_host_is_allowed(
    broker: Server, host: str, status: int
) -> None:
    host = host.format(port=broker.port)
    assert shake(broker.port, "/ws", ("Origin", f"http://{host}"), host=host).status == status


def test_behind_a_proxy_self_is_the_name_that_the_client_uses(small: Server) -> None:
    headers = ("Origin", "http://any.example"), ("X-Forwarded-For", "203.0.113.1")
    assert shake(small.port, "/ws", *headers, host="any.example").status == 101


# --- cookies and forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "secure"), [("https", True), ("http", False)])
def test_cookies_made_over_https_are_secure(small: Server, scheme: str, secure: bool) -> None:
    head = ask(small.port, "GET", "/admin/login/", ("X-Forwarded-Proto", scheme))
    cookie = head.header("set-cookie") or ""
    assert cookie.startswith("csrftoken=")
    assert ("; Secure" in cookie) is secure


@pytest.mark.parametrize(("origin", "status"), [("trusted", 200), ("other", 403)])
def test_forms_of_trusted_origins_are_taken(small: Server, origin: str, status: int) -> None:
    token = "a" * 32
    headers = (
        ("Origin", f"https://{origin}.example"),
        ("Cookie", f"csrftoken={token}"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    )
    body = f"csrfmiddlewaretoken={token}&username=nobody&password=x"
    assert ask(small.port, "POST", "/admin/login/", *headers, body=body).status == status


# --- a proxy's credentials -------------------------------------------------------------------------------

BASIC: Final = ("Authorization", "Basic cHJveHk6c2VjcmV0")


def root_of(server: Server, query: str, *headers: tuple[str, str]) -> str:
    with connect(f"{server.ws_url}/websocket{query}", additional_headers=list(headers), proxy=None) as socket:
        root: str = json.loads(socket.recv(timeout=60))["data"]["root_id"]
        return root


def test_basic_credentials_hide_no_login_token(named: Server) -> None:
    user = new_user(named)
    bearer = ("Authorization", f"Bearer {user.token}")
    bare = ("Authorization", user.token)
    strange = ("Authorization", "Bearer of.another.server")
    seen = {
        "auth": root_of(named, f"?auth={user.token}", BASIC),
        "auth, behind another server's token": root_of(named, f"?auth={user.token}", strange),
        "bearer before": root_of(named, "", bearer, BASIC),
        "bearer behind": root_of(named, "", BASIC, bearer),
        "bare before": root_of(named, "", bare, BASIC),
        "bare behind": root_of(named, "", BASIC, bare),
    }
    assert seen == dict.fromkeys(seen, user.root_id)
    assert root_of(named, "", BASIC) == PUBLIC
    assert ask(named.port, "POST", "/user/logout", BASIC, bearer).status == 200


def test_basic_credentials_hide_no_api_key(named: Server) -> None:
    bearer = ("Authorization", f"Bearer {named.api_key}")
    for headers in ((bearer,), (BASIC, bearer), (bearer, BASIC), (("X-API-Key", named.api_key), BASIC)):
        assert ask(named.port, "GET", "/api/clients/", *headers).status == 200
    assert ask(named.port, "GET", f"/api/clients/?key={named.api_key}", BASIC).status == 200
    for query, headers in ((f"?key={named.api_key}", (BASIC,)), ("", (BASIC, bearer))):
        url = f"{named.ws_url}/connection{query}"
        with connect(url, additional_headers=list(headers), proxy=None) as socket:
            socket.send('{"direction": "REQUEST", "key": "k", "type": "whoami"}')
            assert "publish" in json.loads(socket.recv(timeout=60))["scopes"]


def test_basic_credentials_hide_no_customer_token(named: Server) -> None:
    token = named.manage("gentoken", "--publisher", "demo", "--customer", "alice").strip()
    bearer = ("Authorization", f"Bearer {token}")
    for headers in ((BASIC, bearer), (bearer, BASIC)):
        assert ask(named.port, "GET", "/sessions", *headers).status == 200


# --- come back later -------------------------------------------------------------------------------------


def from_(address: str) -> tuple[str, str]:
    return "X-Forwarded-For", address


@every_socket
def test_a_full_server_asks_to_come_back(small: Server, path: str) -> None:
    with ExitStack() as stack:
        for number in range(3):
            _enter(stack, small, from_(f"203.0.113.{number}"))
        refused = [shake(small.port, path, from_("203.0.113.9"))]
        if path == SOCKET_IO:
            refused.append(ask(small.port, "GET", POLLING, from_("203.0.113.9")))
    assert [(head.status, head.header("retry-after")) for head in refused] == [(503, "5")] * len(refused)


def test_clients_of_one_ipv6_network_count_together(small: Server) -> None:
    with ExitStack() as stack:
        for address in ("2001:db8::1", "2001:db8::ffff:2"):
            _enter(stack, small, from_(address))
        assert shake(small.port, "/ws", from_("2001:db8::3")).status == 503
        _enter(stack, small, from_("2001:db8:0:1::1"))


def _enter(stack: ExitStack, server: Server, *headers: tuple[str, str]) -> None:
    """Take a seat, once those of the test before have been given back."""

    def open_one() -> Any:
        with ExitStack() as attempt:
            head = attempt.enter_context(shaken(server.port, "/ws", *headers))
            if head.status == 101:
                stack.enter_context(attempt.pop_all())
            return head.status == 101

    wait_until(open_one)
