"""Clients that come while the database or Redis is out are told to come back, on every path that needs it."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from tests.events.client import new_user
from tests.faults.cluster import Pair
from tests.services.handshake import shake
from tests.services.waiting import until_equal

pytestmark = pytest.mark.once

NEED_DATABASE: Final = ("/connection?key={key}", "/websocket?auth={token}", "/lobby?lobbyId=l")
NEED_REDIS: Final = ("/ws", "/websocket", "/lobby?lobbyId=l")
NEED_NOTHING_YET: Final = ("/connection", "/layout", "/bus", "/trigger")


async def answers(port: int, paths: list[str]) -> dict[str, tuple[int, bool]]:
    """Status, and whether it says when to come back, by path; all are asked for at once."""
    heads = await asyncio.gather(*(asyncio.to_thread(shake, port, path) for path in paths))
    return {
        path: (head.status, bool(head.header("retry-after"))) for path, head in zip(paths, heads, strict=True)
    }


async def test_while_the_database_is_out(pair: Pair) -> None:
    server = pair.one.server
    user = await asyncio.to_thread(new_user, server)
    paths = [path.format(key=server.api_key, token=user.token) for path in NEED_DATABASE]
    await until_equal(dict.fromkeys(paths, (101, False)), lambda: answers(server.port, paths))

    pair.one.postgres.down()
    # A key that was just checked is remembered for two seconds.
    await until_equal(dict.fromkeys(paths, (503, True)), lambda: answers(server.port, paths))
    assert (await answers(server.port, ["/bus"]))["/bus"][0] == 101


async def test_while_redis_is_out(pair: Pair) -> None:
    server = pair.one.server
    pair.one.redis.down()

    await until_equal(dict.fromkeys(NEED_REDIS, (503, True)), lambda: answers(server.port, list(NEED_REDIS)))
    assert await answers(server.port, list(NEED_NOTHING_YET)) == dict.fromkeys(NEED_NOTHING_YET, (101, False))
