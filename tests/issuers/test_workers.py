"""Issuers made and changed at one worker hold at another; and all refusals are alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.jwt.signing import SECRET, access_claims, signed
from tests.services.databases import Databases
from tests.services.ports import LOOPBACK
from tests.services.server import Server
from tests.services.waiting import wait_until

OTHER = "o" * 64
KEY = {"algorithm": "HS256", "secret": SECRET}


@pytest.fixture(scope="module")
def pair(
    redis_url: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """Two processes on one Redis and one database."""
    url = databases.create()
    servers = [
        Server(tmp_path_factory.mktemp("issuers"), {"DATABASE_URL": url, "REDIS_URL": redis_url}, "serve")
        for _ in range(2)
    ]
    try:
        for server in servers:
            server.start()
        yield servers[0], servers[1]
    finally:
        for server in servers:
            server.close()
        databases.drop(url)


def ask(
    server: Server, method: str, path: str, credential: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers without those of the time and the request, and body."""
    connection = HTTPConnection(LOOPBACK, server.port, timeout=60)
    try:
        given = {"Authorization": f"Bearer {credential}", "Content-Type": "application/json", **headers}
        connection.request(method, path, None if body is None else json.dumps(body), given)
        response = connection.getresponse()
        shown = {name.lower(): value for name, value in response.getheaders()}
        return response.status, {name: shown[name] for name in shown.keys() - VARYING}, response.read()
    finally:
        connection.close()


VARYING = {"date", "x-request-id"}


def publishes(server: Server, token: str) -> int:
    """The status of a message that the token may publish."""
    body = {"addresses": ["channel:9"], "message": 1}
    return ask(server, "POST", "/api/publish", token, body)[0]


def token(name: str, secret: str = SECRET, **claims: Any) -> str:
    return signed(access_claims(iss=name, publish=["channel:*"], **claims), secret)


def test_issuer_of_one_worker_is_known_at_the_other(pair: tuple[Server, Server]) -> None:
    here, there = pair
    key = here.api_key
    assert publishes(there, token("late")) == 401, "nobody's, and remembered so"

    status, _, made = ask(here, "POST", "/api/issuers/", key, {"name": "late", "keys": [KEY]})
    assert status == 201
    one = f"/api/issuers/{json.loads(made)['id']}/"
    wait_until(lambda: publishes(there, token("late")) == 200)

    ask(here, "PATCH", one, key, {"enabled": False})
    wait_until(lambda: publishes(there, token("late")) == 401)
    ask(here, "PATCH", one, key, {"enabled": True, "keys": [KEY, {**KEY, "secret": OTHER}]})
    wait_until(lambda: publishes(there, token("late", OTHER)) == 200)
    assert publishes(there, token("late")) == 200, "both keys are good while they are rotated"
    ask(here, "PATCH", one, key, {"keys": [{**KEY, "secret": OTHER}]})
    wait_until(lambda: publishes(there, token("late")) == 401)
    assert publishes(there, token("late", OTHER)) == 200
    ask(here, "DELETE", one, key)
    wait_until(lambda: publishes(there, token("late", OTHER)) == 401)


def test_refusals_are_alike(pair: tuple[Server, Server]) -> None:
    """Neither which issuers there are nor what was wrong with a token can be told from the answer."""
    server, _ = pair
    body = {"name": "shop", "keys": [KEY, {"algorithm": "HS512", "kid": "k2", "secret": OTHER}]}
    assert ask(server, "POST", "/api/issuers/", server.api_key, body)[0] == 201
    wait_until(lambda: publishes(server, token("shop")) == 200)
    good = access_claims(publish=["channel:*"])
    refused = {
        "unknown issuer": token("nobody"),
        "another secret": token("shop", "w" * 64),
        "another algorithm": signed(good, SECRET, "HS384"),
        "unknown kid": signed(good, OTHER, "HS512", kid="k3"),
        "expired": token("shop", exp=1),
        "no exp": token("shop", exp=None),
        "no sub": token("shop", sub=None),
        "audience": token("shop", aud="a"),
        "patterns": token("shop", subscribe="*"),
        "cut off": token("shop").rpartition(".")[0] + ".",
    }
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="

    published = {
        case: ask(server, "POST", "/api/publish", one, {"addresses": ["channel:9"], "message": 1})
        for case, one in refused.items()
    }
    opened = {case: ask(server, "GET", "/connection", one, **upgrade) for case, one in refused.items()}

    assert {answer[0] for answer in published.values()} == {401}
    assert {answer[0] for answer in opened.values()} == {403}
    for answers in (published, opened):
        first = answers["unknown issuer"]
        assert [case for case, answer in answers.items() if answer != first] == []
    log = server.log_text()
    assert not [case for case, one in refused.items() if one in log]
    assert SECRET not in log
