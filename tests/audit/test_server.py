"""On real servers: the id of a request is answered, logged and recorded, and nothing of the log is lost."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from http.client import HTTPConnection, HTTPResponse
from time import time
from typing import Any

import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from routing_app.core.models import AuditEntry
from tests.conftest import ServerFactory
from tests.services.databases import sql
from tests.services.ports import LOOPBACK
from tests.services.server import Server
from tests.services.waiting import until_equal, wait_until

CLIENT = "203.0.113.9"
MADE = re.compile("[0-9a-f]{12}-[0-9a-f]+")


def ask(
    broker: Server, method: str, path: str, body: Any = None, id: str | None = "trace-1/a", **headers: str
) -> HTTPResponse:
    """One request behind a proxy, with the key of the server unless `headers` has another."""
    given = {"X-API-Key": broker.api_key, "X-Forwarded-For": CLIENT, "Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    if id is not None:
        given["X-Request-ID"] = id
    connection = HTTPConnection(LOOPBACK, broker.port, timeout=60)
    connection.request(method, path, json.dumps(body) if body is not None else None, given)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def listed(broker: Server, query: str) -> list[dict[str, Any]]:
    connection = HTTPConnection(LOOPBACK, broker.port, timeout=60)
    connection.request("GET", f"/api/audit?{query}", headers={"X-API-Key": broker.api_key})
    rows: list[dict[str, Any]] = json.loads(connection.getresponse().read())["results"]
    connection.close()
    return rows


PATHS: list[tuple[str, str, Any, int]] = [
    ("GET", "/api/tokens/", None, 200),
    ("GET", "/api/nothing", None, 404),
    ("GET", "/console/", None, 302),
    ("GET", "/static/admin/css/base.css", None, 200),
    ("GET", "/admin/", None, 302),
    ("POST", "/api/publish", {"addresses": ["token:abc"], "message": 1}, 200),
    ("POST", "/api/publish", {"message": 1}, 400),
    ("POST", "/api/publish/batch", {"messages": []}, 200),
    ("POST", "/", {"method": "get_clients"}, 200),
    ("GET", "/socket.io/?EIO=4&transport=polling", None, 200),
    ("GET", "/socket.io/?EIO=9&transport=polling", None, 400),
    ("GET", "/api/stream", None, 400),
    ("GET", "/health/live", None, 200),
    ("GET", "/ws", None, 426),
    ("POST", "/sessions", {}, 401),
]


def test_every_answer_has_the_id(broker: Server) -> None:
    for method, path, body, status in PATHS:
        answer = ask(broker, method, path, body)
        assert (path, answer.status) == (path, status)
        assert answer.headers.get_all("X-Request-ID") == ["trace-1/a"], path
        for unusable in (None, "x" * 129, "\u00e9", "a b"):
            made = ask(broker, method, path, body, id=unusable).headers.get_all("X-Request-ID") or []
            assert [bool(MADE.fullmatch(one)) for one in made] == [True], path


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", b"431"),
    ],
)
def test_the_servers_own_refusals_have_one(broker: Server, sent: bytes, status: bytes) -> None:
    with socket.create_connection((LOOPBACK, broker.port), 60) as connection:
        connection.sendall(sent)
        received = b""
        while part := connection.recv(65536):
            received += part

    head = received.partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 " + status)
    assert re.search(rb"\r\nX-Request-ID: [0-9a-f]{12}-[0-9a-f]+\r?", head)


async def test_a_handshake_has_it(broker: Server) -> None:
    given = {"X-Request-ID": "socket-1"}
    async with connect(f"{broker.ws_url}/ws?RegisterToken=a", proxy=None, additional_headers=given) as client:
        assert client.response is not None
        assert client.response.headers["X-Request-ID"] == "socket-1"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{broker.ws_url}/nowhere", proxy=None, additional_headers=given):
            pass
    assert refused.value.response.headers["X-Request-ID"] == "socket-1"


def test_entries_have_the_id_and_the_clients_network(broker: Server) -> None:
    calls = [
        ("POST", "/api/tokens/", {"token": "abcdefgh"}, {}),
        ("POST", "/", {"method": "unregisterToken", "token": "abcdefgh"}, {}),
        ("POST", "/api/publish", {"addresses": ["token:abc"], "message": 1}, {"X_API_Key": "wrong" * 5}),
        ("GET", "/api/stream?address=token:abc", None, {"X_API_Key": "wrong" * 5}),
        ("DELETE", "/api/tokens/99999/", None, {}),
    ]
    for number, (method, path, body, headers) in enumerate(calls):
        ask(broker, method, path, body, id=f"call-{number}", **headers)

    def found() -> list[tuple[str, ...]]:
        fields = ("request_id", "actor_kind", "action", "outcome", "network")
        rows = [tuple(row[name] for name in fields) for row in listed(broker, "page_size=10")]
        return sorted(row for row in rows if row[0].startswith("call-"))

    expected = [
        ("call-0", "key", "create", "ok", CLIENT),
        ("call-1", "key", "unregisterToken", "ok", CLIENT),
        ("call-2", "nobody", "publish", "refused: 401", CLIENT),
        ("call-3", "nobody", "read", "refused: 401", CLIENT),
        ("call-4", "key", "delete", "refused: 404", CLIENT),
    ]
    asyncio.run(until_equal(expected, lambda: asyncio.to_thread(found)))


SECRET = "Canary0Secret-of-an-issuer-000000"


def entries_of(broker: Server, *ids: str) -> list[tuple[str, ...]]:
    """(actor, action, target, outcome) of the requests of some ids, in their order, once all are written."""
    fields = ("actor", "action", "target", "outcome")

    def found() -> list[tuple[str, ...]]:
        rows = {row["request_id"]: row for row in listed(broker, "page_size=50")}
        return [tuple(rows[id][name] for name in fields) for id in ids] if rows.keys() >= set(ids) else []

    written: list[tuple[str, ...]] = wait_until(found)
    return written


def test_calls_of_clients_have_none_and_those_of_operators_beside_them_have(broker: Server) -> None:
    calls = [
        *(("/sessions", 401), ("/takeover", 401), ("/user/login", 422), ("/walker/none", 404)),
        ("/api/publish", 400),
    ]
    answered = [(path, ask(broker, "POST", path, {}, id="clients").status) for path, _ in calls]

    assert answered == calls
    assert ask(broker, "POST", "/api/publish", {}, id="refused", X_API_Key="wrong").status == 401
    assert entries_of(broker, "refused") == [("", "publish", "/api/publish", "refused: 401")]
    recorded = listed(broker, "page_size=1000")
    assert [row["target"] for row in recorded if row["request_id"] == "clients"] == []


def test_an_access_token_is_its_issuer_and_subject(broker: Server) -> None:
    key = {"algorithm": "HS256", "secret": SECRET}
    assert ask(broker, "POST", "/api/issuers/", {"name": "login", "keys": [key]}, id="issuer").status == 201
    claims = {"iss": "login", "sub": "anna", "exp": int(time()) + 600, "publish": ["room:bus/one"]}
    token = {"X_API_Key": "", "Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}
    published = {"addresses": ["room:bus/two"], "message": 1}

    assert ask(broker, "POST", "/api/publish", published, id="token-1", **token).status == 403
    assert ask(broker, "DELETE", "/api/history?address=room:bus/one", id="token-2", **token).status == 403
    assert ask(broker, "POST", "/api/rooms/", {}, id="token-3", **token).status == 403
    assert ask(broker, "GET", "/metrics", id="token-4", **token).status == 401

    actor, refused = "login/anna", "refused: 403"
    assert entries_of(broker, "token-1", "token-2", "token-3", "token-4") == [
        (actor, "publish", "/api/publish", refused),
        (actor, "delete", "/api/history", refused),
        (actor, "create", "rooms.room", refused),
        ("", "read", "/metrics", "refused: 401"),
    ]
    assert SECRET[:13] not in json.dumps(listed(broker, "page_size=1000"))


def test_calls_from_a_revoked_network_are_recorded(broker: Server) -> None:
    elsewhere = "198.51.100.7"
    assert ask(broker, "POST", "/api/revocations/", {"network": elsewhere}).status == 201
    wait_until(lambda: ask(broker, "POST", "/sessions", {}, X_Forwarded_For=elsewhere).status == 403)
    calls = [
        ("DELETE", "/api/rooms/999/"),
        ("POST", "/api/publish"),
        ("GET", "/metrics"),
        ("POST", "/sessions"),
    ]
    for number, (method, path) in enumerate(calls):
        assert ask(broker, method, path, {}, id=f"out-{number}", X_Forwarded_For=elsewhere).status == 403

    def found() -> list[tuple[str, ...]]:
        fields = ("request_id", "action", "target", "outcome")
        rows = [row for row in listed(broker, "page_size=50") if row["network"] == elsewhere]
        return sorted(tuple(row[name] for name in fields) for row in rows)

    expected = [
        ("out-0", "delete", "rooms.room 999", "refused: 403"),
        ("out-1", "publish", "/api/publish", "refused: 403"),
        ("out-2", "read", "/metrics", "refused: 403"),
    ]
    asyncio.run(until_equal(expected, lambda: asyncio.to_thread(found)))


def test_a_call_beyond_a_limit_is_recorded(server: ServerFactory) -> None:
    broker = server()
    limit = {"protocol": "api", "command": "api", "per": "key", "rate": 0.01, "burst": 1, "then": "refuse"}
    assert ask(broker, "POST", "/api/limits/", limit).status == 201

    assert [ask(broker, "DELETE", "/api/rooms/999/").status for _ in range(2)] == [404, 429]

    def found() -> list[tuple[str, ...]]:
        entries = "SELECT actor_kind, action, target, outcome FROM core_auditentry ORDER BY id"
        return [tuple(row) for row in sql(broker.database_url, entries)][-2:]

    expected = [
        ("key", "delete", "rooms.room 999", "refused: 404"),
        ("key", "delete", "rooms.room 999", "refused: 429"),
    ]
    asyncio.run(until_equal(expected, lambda: asyncio.to_thread(found)))


def test_log_lines_have_it(broker: Server) -> None:
    """Here that of a page that may not read."""
    ask(broker, "GET", "/api/stream", id="line-1", Origin="https://evil.example")

    [line] = [line for line in broker.log_text().splitlines() if "origin refused" in line]
    assert " [line-1] " in line


def test_the_first_start_is_recorded(broker: Server) -> None:
    rows = [
        (row["action"], row["target"].split()[0])
        for row in listed(broker, "page_size=1000")
        if row["actor_kind"] == "command"
    ]

    assert sorted(rows) == [
        ("create", "core.apikey"),
        ("create", "sessions_app.publisher"),
    ]


def test_a_graceful_stop_loses_nothing(server: ServerFactory) -> None:
    """Neither what waits for the writing thread, nor what is only counted."""
    broker = server()
    for number in range(100):
        ask(broker, "POST", "/api/publish", {}, id=f"call-{number}", X_API_Key="wrong" * 5)
    assert broker.stop() == 0

    table = AuditEntry._meta.db_table
    rows = sql(broker.database_url, f"SELECT outcome FROM {table} ORDER BY id")
    outcomes = [row[0] for row in rows if row[0].startswith("refused") or row[0].endswith("more")]
    more = [int(one.split()[0]) for one in outcomes if one.endswith("more")]
    assert outcomes.count("refused: 401") + sum(more) == 100
    assert len(outcomes) < 70


@pytest.fixture(params=["daphne", "uvicorn"])
def other(server: ServerFactory, request: pytest.FixtureRequest) -> Server:
    return server(request.param)


def test_other_servers_have_it_too(other: Server) -> None:
    for method, path, body, _ in PATHS[:8]:
        answer = ask(other, method, path, body)
        assert answer.headers.get_all("X-Request-ID") == ["trace-1/a"], path
        assert MADE.fullmatch(ask(other, method, path, body, id=None).headers["X-Request-ID"])
