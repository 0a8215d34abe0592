"""Database or Redis out, at the handshake and in the middle: clear answers, and all comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.services.postgres import Postgres, find_postgres
from tests.services.redis import Redis, find_redis
from tests.services.waiting import wait_until
from tests.tokens.client import call, form, refusal
from tests.tokens.conftest import Connect

# With a PostgreSQL and a Redis of their own, whatever the pass runs on.
pytestmark = pytest.mark.once


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed (make test installs it)")
    with Postgres() as postgres:
        yield postgres


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    if find_redis() is None:
        pytest.skip("redis-server is not installed (make test installs it)")
    with Redis(tmp_path) as redis:
        yield redis


def test_database_out_and_back(server: ServerFactory, connect: Connect, postgres: Postgres) -> None:
    closed = server(DATABASE_URL=postgres.url(), REDIS_URL="", TOKENS_ALLOW_UNREGISTERED="no")
    opened = server(DATABASE_URL=postgres.url(), REDIS_URL="")
    form(closed, "registerToken", token="abc1")
    form(closed, "registerToken", token="abc2")
    client, free = connect(closed, "abc1"), connect(opened, "abc1")

    postgres.kill()

    # Connected clients go on, and so do newcomers where every token may connect; else newcomers wait.
    client.send("abc1|still")
    assert client.received() == ["still"]
    newcomer = connect(opened, "abc9")
    newcomer.send("abc1|hello")
    newcomer.send("RegisterToken:abc8")
    newcomer.send("abc8|moved")
    assert newcomer.received() == ["moved"]
    assert free.received() == ["hello"]
    assert refusal(closed, "abc1") == 503
    client.send("RegisterToken:abc2")
    client.send("abc1|kept")
    assert client.received() == ["kept"]

    postgres.serve()

    wait_until(lambda: refusal(closed, "abc2") == 101)
    client.send("RegisterToken:abc2")
    client.send("abc2|moved")
    assert client.received() == ["moved"]
    wait_until(lambda: form(opened, "get_clients").json().get(newcomer.peer) == "abc8")


def test_redis_out_and_back(server: ServerFactory, connect: Connect, redis: Redis) -> None:
    one = server(REDIS_URL=redis.url)
    other = server(REDIS_URL=redis.url, DATABASE_URL=one.database_url)
    here, also_here, there = connect(one, "abc1"), connect(one, "abc1"), connect(other, "abc1")
    moving = connect(one, "abc3")

    redis.kill()

    here.send("abc1|near")
    assert here.received() == also_here.received() == ["near"]
    assert refusal(one, "token that needs a subscription") == 503
    assert form(one, "registerToken", token="abc2").status == 200
    # A token new to this process cannot be had now: better a close than a client that receives nothing.
    moving.send("RegisterToken:abc4")
    assert moving.close_code() == 4103

    redis.start()

    def arrives() -> bool:
        here.send("abc1|far")
        return "far" in there.received()

    wait_until(arrives)
    wait_until(lambda: refusal(one, "token that needs a subscription") == 101)
    assert call(one, "GET", "/health/live").status == 200
