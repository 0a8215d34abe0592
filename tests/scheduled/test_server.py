"""Servers publish messages for later when their time comes: once each, whichever of them dies meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.conf import settings
from websockets.sync.client import ClientConnection, connect

from tests.conftest import SCALED_OUT
from tests.revocations.clients import Issuer, call
from tests.services.databases import Databases, sql
from tests.services.server import Server
from tests.services.waiting import wait_until

WAIT = 60
"""A limit for what hangs, not a measure."""
BLOCK = 77
"""Name of the advisory lock on which the outbox waits for a test."""


@dataclass
class Pair:
    """Two servers on one database where the stack allows, else the same one twice."""

    one: Server
    other: Server

    def left(self) -> int:
        """Messages that wait or are on their way."""
        tables = ("core_scheduledmessage WHERE sent_at IS NULL", "outbox_message")
        counts = [sql(self.one.database_url, f"SELECT count(*) FROM {table}") for table in tables]
        return sum(int(rows[0][0]) for rows in counts)


@pytest.fixture(scope="module")
def pair(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    url = databases.create()
    options = {"DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL}
    servers = [Server(tmp_path_factory.mktemp("scheduled"), options) for _ in range(2 if SCALED_OUT else 1)]
    for server in servers:
        server.start()
    rule = {"pattern": "token:kept*", "history_size": 5000, "history_seconds": 300}
    assert call(servers[0], "POST", "/api/rules/", rule)[0] == 201
    # Whichever of them sends a message has to know that it is kept.
    wait_until(lambda: call(servers[-1], "GET", "/api/history?address=token:kept")[0] == 200)
    yield Pair(servers[0], servers[-1])
    for server in servers:
        server.close()
    databases.drop(url)


def subscriber(server: Server, token: str, query: str = "") -> ClientConnection:
    return connect(f"{server.ws_url}/ws?RegisterToken={token}{query}", max_size=None, proxy=None)


def received(socket: ClientConnection, count: int) -> list[str]:
    return [str(socket.recv(WAIT)) for _ in range(count)]


def schedule(server: Server, token: str, texts: list[str], **when: Any) -> list[str]:
    """Schedule messages; their ids."""
    messages = [{"addresses": [f"token:{token}"], "message": text, **when} for text in texts]
    found = []
    for start in range(0, len(messages), 1000):
        body = {"messages": messages[start : start + 1000]}
        status, answer = call(server, "POST", "/api/publish/batch", body)
        assert status == 200, answer
        found += [one["scheduled"] for one in answer["results"]]
    return found


def make_due(server: Server, ids: list[str]) -> None:
    """Have the time of scheduled messages come; their order stays."""
    for id in ids:
        change = "UPDATE core_scheduledmessage SET at = '2020-01-01 00:00:00' WHERE name = %s"
        sql(server.database_url, change, id)


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@contextmanager
def paused(server: Server) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_a_message_comes_with_its_sender_and_its_id_and_is_then_gone(pair: Pair) -> None:
    body = {"addresses": ["token:kept/one"], "message": {"n": 1}, "delay": 0.2, "id": "order-17"}
    with subscriber(pair.other, "kept/one") as socket:
        status, answer = call(pair.one, "POST", "/api/publish", body)
        assert status == 202
        assert received(socket, 1) == ['{"n":1}']

    wait_until(lambda: pair.left() == 0)
    path = f"/api/scheduled/{answer['scheduled']}/"
    assert call(pair.one, "GET", path)[0] == call(pair.one, "DELETE", path)[0] == 404
    _, history = call(pair.one, "GET", "/api/history?address=token:kept/one")
    identity = call(pair.one, "GET", "/api/keys/")[1]["results"][0]["name"]
    assert [(one["id"], one["sender"]) for one in history["messages"]] == [("order-17", identity)]


def test_an_id_that_was_published_meanwhile_is_not_published_again(pair: Pair) -> None:
    body = {"addresses": ["token:plain"], "message": "once", "id": "meanwhile"}
    with subscriber(pair.other, "plain") as socket:
        status, answer = call(pair.one, "POST", "/api/publish", {**body, "delay": 3600})
        assert status == 202
        assert call(pair.one, "POST", "/api/publish", body)[0] == 200
        make_due(pair.one, [answer["scheduled"]])
        wait_until(lambda: pair.left() == 0)
        call(pair.one, "POST", "/api/publish", {"addresses": ["token:plain"], "message": "end"})
        assert received(socket, 2) == ["once", "end"]


def test_a_token_sees_and_withdraws_what_it_has_scheduled_itself(pair: Pair) -> None:
    issuer = Issuer("later", "s" * 32)
    keys = [{"algorithm": "HS256", "secret": issuer.secret}]
    assert call(pair.one, "POST", "/api/issuers/", {"name": issuer.name, "keys": keys})[0] == 201

    def by(subject: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        token = issuer.token(subject, publish=["room:*"])
        return call(pair.one, method, path, body, Authorization=f"Bearer {token}", X_API_Key="")

    body = {"addresses": ["room:bus/a"], "message": "x", "delay": 3600}
    assert by("anna", "POST", "/api/publish", {**body, "addresses": ["token:a"]})[0] == 403
    status, made = by("anna", "POST", "/api/publish", body)
    assert status == 202
    assert [one["id"] for one in by("anna", "GET", "/api/scheduled/")[1]["results"]] == [made["scheduled"]]
    assert by("bert", "GET", "/api/scheduled/")[1]["results"] == []
    path = f"/api/scheduled/{made['scheduled']}/"
    assert [by(one, "DELETE", path)[0] for one in ("bert", "anna", "anna")] == [404, 204, 404]


@pytest.mark.parametrize("token", ["many", "kept/many"])
def test_many_of_one_time_come_once_and_in_order(pair: Pair, token: str) -> None:
    texts = [str(number) for number in range(1500)]
    with subscriber(pair.other, token) as socket, subscriber(pair.one, token) as near:
        schedule(pair.one, token, texts, at=in_seconds(2))
        assert received(socket, 1500) == received(near, 1500) == texts
    wait_until(lambda: pair.left() == 0)


def test_messages_of_a_server_that_died_are_sent_by_one_that_lives(pair: Pair) -> None:
    ids = schedule(pair.one, "kept/orphans", ["first", "second"], delay=3600)
    pair.one.kill()
    make_due(pair.one, ids)
    if not SCALED_OUT:
        pair.one.start()
    with subscriber(pair.other, "kept/orphans", "&last=10") as socket:
        assert received(socket, 2) == ["first", "second"]
    if SCALED_OUT:
        pair.one.start()
    wait_until(lambda: pair.left() == 0)
    assert len(set(ids)) == 2


@pytest.mark.skipif(not SCALED_OUT, reason="one process has no other that could go on")
@pytest.mark.parametrize("token", ["killed", "kept/killed"])
def test_what_a_killed_worker_had_sent_and_not_deleted_comes_once(pair: Pair, token: str) -> None:
    """It is killed between the two: its messages are on their way, and their rows still there."""
    texts = [str(number) for number in range(700)]
    with (
        subscriber(pair.other, token) as socket,
        psycopg.connect(pair.one.database_url, autocommit=True) as database,
        blocked(database) as is_waiting,
    ):
        call(pair.one, "POST", "/api/publish", {"addresses": [f"token:{token}"], "message": "ready"})
        assert received(socket, 1) == ["ready"]
        with paused(pair.other):
            schedule(pair.one, token, texts, at=in_seconds(1.5))
            wait_until(is_waiting)
            pair.one.kill()
        # The other has what was sent, and finds the rows of it when the lock of the dead one is gone.
        assert received(socket, 500) == texts[:500]
        database.execute("SELECT pg_advisory_unlock(%s)", [BLOCK])
        assert received(socket, 200) == texts[500:]
        wait_until(lambda: pair.left() == 0)
        call(pair.other, "POST", "/api/publish", {"addresses": [f"token:{token}"], "message": "end"})
        assert received(socket, 1) == ["end"]
    pair.one.start()


@contextmanager
def blocked(database: psycopg.Connection[Any]) -> Iterator[Any]:
    """Rows of the outbox cannot be deleted meanwhile; gives a function that says if somebody tries."""
    database.execute("SELECT pg_advisory_lock(%s)", [BLOCK])
    database.execute(
        "CREATE OR REPLACE FUNCTION block() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_advisory_xact_lock_shared({BLOCK}); RETURN OLD; END $$"
    )
    database.execute(
        "CREATE TRIGGER block BEFORE DELETE ON outbox_message FOR EACH ROW EXECUTE FUNCTION block()"
    )
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
    try:
        yield lambda: database.execute(waiting, [BLOCK]).fetchone() != (0,)
    finally:
        database.execute("SELECT pg_advisory_unlock_all()")
        database.execute("DROP TRIGGER IF EXISTS block ON outbox_message")
