"""Access tokens at REST: what each may publish and read, and that it may do nothing else."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.services.databases import Databases
from tests.services.issuing import add_issuer, add_key, bad_tokens, token
from tests.services.ports import LOOPBACK
from tests.services.running import running
from tests.services.server import Server


@pytest.fixture(scope="module")
def server(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(databases, tmp_path_factory.mktemp("rest"), HISTORY_SIZE="50") as one:
        add_issuer(one)
        yield one


@pytest.fixture
def address() -> str:
    return f"channel:{secrets.token_hex(4)}"


def call(
    server: Server,
    method: str,
    path: str,
    credential: str,
    body: Any = None,
    by_query: bool = False,
    **query: Any,
) -> tuple[int, Any]:
    """Status and decoded body."""
    headers = {"Content-Type": "application/json"}
    if by_query:
        query["access_token"] = credential
    else:
        headers["Authorization"] = f"Bearer {credential}"
    connection = HTTPConnection(LOOPBACK, server.port, timeout=60)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, f"{path}?{urlencode(query)}" if query else path, data, headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None
    finally:
        connection.close()


def publish(server: Server, credential: str, message: Any, *addresses: str, by_query: bool = False) -> int:
    body = {"addresses": addresses, "message": message}
    return call(server, "POST", "/api/publish", credential, body, by_query)[0]


def kept(server: Server, address: str) -> list[Any]:
    """The messages of an address."""
    status, answer = call(server, "GET", "/api/history", server.api_key, address=address)
    assert status == 200, answer
    return [entry["message"] for entry in answer["messages"]]


@pytest.mark.parametrize("by_query", [False, True], ids=["header", "query"])
def test_a_token_publishes_where_it_may(server: Server, address: str, by_query: bool) -> None:
    other = f"{address}x"
    publisher = token([], [address])
    assert publish(server, publisher, "one", address, by_query=by_query) == 200
    assert publish(server, publisher, "no", address, other, by_query=by_query) == 403
    assert publish(server, token(["*"]), "no", address, by_query=by_query) == 403
    assert (kept(server, address), kept(server, other)) == (["one"], [])


def test_a_message_says_who_has_sent_it(server: Server, address: str) -> None:
    assert publish(server, token([], ["*"], sub="ann"), "one", address) == 200
    _, answer = call(server, "GET", "/api/history", server.api_key, address=address)
    assert [entry["sender"] for entry in answer["messages"]] == ["ann"]


def test_an_id_is_known_for_each_holder(server: Server, address: str) -> None:
    """One holder's id says nothing of another's, though their issuer is the same."""
    body = {"addresses": [address], "message": 1, "id": "same"}
    for holder, repeated in (("ann", None), ("bea", None), ("ann", True)):
        _, answer = call(server, "POST", "/api/publish", token([], ["*"], sub=holder), body)
        assert answer.get("repeated") == repeated
    assert kept(server, address) == [1, 1]


def test_each_message_of_a_batch_needs_its_addresses(server: Server, address: str) -> None:
    messages = [
        {"addresses": [address], "message": "one"},
        {"addresses": [address, f"{address}x"], "message": "no"},
        {"addresses": [address], "message": "two"},
    ]
    for credential in (token([], [address]), add_key(server, "limited", ["publish"], [address])):
        status, answer = call(server, "POST", "/api/publish/batch", credential, {"messages": messages})
        assert (status, ["error" in one for one in answer["results"]]) == (200, [False, True, False])
    assert kept(server, address) == ["one", "two"] * 2


@pytest.mark.parametrize("by_query", [False, True], ids=["header", "query"])
def test_a_token_reads_history_where_it_may_subscribe(server: Server, address: str, by_query: bool) -> None:
    def status(credential: str) -> int:
        return call(server, "GET", "/api/history", credential, by_query=by_query, address=address)[0]

    assert publish(server, server.api_key, 1, address) == 200
    assert status(token([address])) == 200
    assert status(token([f"{address}x"], ["*"])) == 403


CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/api/clients/", None),
    ("GET", "/api/rules/", None),
    ("POST", "/api/rules/", {"pattern": "channel:*", "history_size": 1}),
    ("DELETE", "/api/history?address=channel:1", None),
    ("GET", "/api/issuers/", None),
    ("POST", "/api/issuers/", {"name": "mine"}),
    ("GET", "/api/channels/", None),
    ("POST", "/api/connections/00/send", {"message": {}}),
    ("GET", "/api/tokens/", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=[f"{one[0]} {one[1]}" for one in CALLS])
def test_nothing_else_is_for_tokens(server: Server, method: str, path: str, body: Any) -> None:
    assert call(server, method, path, token(["*"], ["*"]), body)[0] == 403
    assert call(server, method, path, bad_tokens()["expired"], body)[0] == 401


@pytest.mark.parametrize("name", ["expired", "unknown issuer", "other secret", "not a JWT"])
def test_a_bad_token_is_refused(server: Server, address: str, name: str) -> None:
    bad = bad_tokens()[name]
    for by_query in (False, True):
        assert publish(server, bad, "no", address, by_query=by_query) == 401
        assert call(server, "GET", "/api/history", bad, by_query=by_query, address=address)[0] == 401
        assert call(server, "GET", "/api/clients/", bad, by_query=by_query)[0] == 401
    assert kept(server, address) == []
    assert bad.rpartition(".")[2] not in server.log_text() or bad == "abc"
