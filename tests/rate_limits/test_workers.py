"""Limits of two workers: they count together, learn of changes, and go on alone while Redis is out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import pytest
from websockets.exceptions import InvalidStatus

from tests.rate_limits.client import Socket
from tests.rate_limits.outages import again_if_redis_was_out
from tests.services.databases import Databases
from tests.services.limits import limited
from tests.services.redis import Redis
from tests.services.running import running
from tests.services.server import Server
from tests.services.waiting import wait_until

BURST = 20


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis that is killed, so it is of these tests alone."""
    with Redis(tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.fixture(scope="module")
def pair(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory, redis: Redis
) -> Iterator[tuple[Server, Server]]:
    """Two servers on one database and one Redis."""
    options = {"REDIS_URL": redis.url, "TRUSTED_PROXIES": "127.0.0.1"}
    with running(databases, tmp_path_factory.mktemp("one"), **options) as one:
        folder = tmp_path_factory.mktemp("other")
        other = Server(folder, {**options, "DATABASE_URL": one.database_url})
        try:
            other.start()
            for server in (one, other):  # a worker starts with its first socket
                Socket(server, "/ws", "10.9.9.9").close()
            yield one, other
        finally:
            other.close()


_hosts = count(1)


def bounds_handshakes(server: Server) -> bool:
    """True when a server takes one handshake from a network address, and no second one."""
    host = f"10.8.{next(_hosts) // 250}.{next(_hosts) % 250 + 1}"
    try:
        for _ in range(2):
            Socket(server, "/ws", host).close()
    except InvalidStatus as refused:
        return refused.response.status_code == 429
    return False


def settle(pair: tuple[Server, Server]) -> None:
    """Wait until the other worker knows all limits that were made: one more, which bounds its handshakes."""
    wait_until(lambda: not bounds_handshakes(pair[1]))  # that of the test before is gone
    with limited(pair[0], "tokens", "connect", "network", rate=0.001):
        wait_until(lambda: bounds_handshakes(pair[1]))


def passed(socket: Socket, number: int) -> int:
    """How many of so many requests are not beyond a limit."""
    found = 0
    for one in range(number):
        socket.send(json.dumps({"direction": "REQUEST", "type": "whoami", "key": f"k{one}."}))
        found += '"code":"rate"' not in socket.texts(f"k{one}.")[-1]
    return found


@pytest.mark.parametrize("per", ["network", "key", "identity"])
@again_if_redis_was_out()
def test_two_workers_count_once_together(pair: tuple[Server, Server], host: str, per: str):
    with limited(pair[0], "requests", "request", per, burst=BURST):
        settle(pair)
        sockets = [Socket(server, "/connection", host) for server in pair]
        each = [passed(socket, BURST) for socket in sockets]

    assert each == [BURST, 0]
    for socket in sockets:
        socket.close()


def test_a_limit_per_connection_is_of_each_alone(pair: tuple[Server, Server], host: str):
    with limited(pair[0], "requests", "request", "connection", burst=BURST), ExitStack() as stack:
        settle(pair)
        sockets = [Socket(server, "/connection", host) for server in pair]
        for socket in sockets:
            stack.callback(socket.close)
        assert [passed(socket, BURST + 2) for socket in sockets] == [BURST, BURST]


@again_if_redis_was_out(but=1)
def test_while_redis_is_out_each_worker_counts_by_itself(
    pair: tuple[Server, Server], redis: Redis, host: str
):
    with limited(pair[0], "requests", "request", "network", burst=BURST):
        settle(pair)
        sockets = [Socket(server, "/connection", host) for server in pair]
        assert [passed(socket, BURST) for socket in sockets] == [BURST, 0]

        redis.kill()
        alone = [passed(socket, BURST + 5) for socket in sockets]
        redis.start()
        assert alone == [BURST, BURST]

        # It comes back empty, and counts both workers together again, as soon as they have found it.
        wait_until(lambda: passed(sockets[0], 1) == 1)
        wait_until(lambda: passed(sockets[1], 1) == 1)
        assert sum(passed(socket, BURST) for socket in sockets) == BURST - 2
    for socket in sockets:
        socket.close()
