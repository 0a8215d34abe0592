"""A lobby on two real servers while PostgreSQL is cut off, slow, restarted: all end with the truth."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import WebSocketException

from tests.faults.cluster import Pair, seconds_until
from tests.rooms.watcher import Watcher, watcher
from tests.services.postgres import Postgres
from tests.services.server import Server

pytestmark = pytest.mark.once

Trouble = Callable[[Pair, Postgres], None]


def cut(pair: Pair, postgres: Postgres) -> None:
    pair.one.postgres.cut()


def unreachable(pair: Pair, postgres: Postgres) -> None:
    pair.one.postgres.down()


def slow(pair: Pair, postgres: Postgres) -> None:
    pair.one.postgres.slow(0.3)


def restart(pair: Pair, postgres: Postgres) -> None:
    postgres.kill()
    postgres.serve()


async def comes_in(server: Server, lobby: str) -> Watcher:
    """Somebody who is in. A client that is refused, or sent away, comes back until it is."""
    while True:
        with contextlib.suppress(OSError, TimeoutError, WebSocketException):
            return await watcher(server, lobby)
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("trouble", [cut, unreachable, slow, restart], ids=lambda trouble: trouble.__name__)
async def test_coming_and_going_while_postgres_fails_leaves_no_ghost(
    pair: Pair, postgres: Postgres, trouble: Trouble
) -> None:
    lobby = secrets.token_hex(4)
    servers = [member.server for member in pair]
    async with AsyncExitStack() as stack:
        stay = [await comes_in(server, lobby) for server in servers]
        leavers = [await comes_in(servers[number % 2], lobby) for number in range(20)]

        async def come_in() -> None:
            stay.append(await comes_in(servers[len(stay) % 2], lobby))

        coming = [asyncio.ensure_future(come_in()) for _ in range(10)]
        leaving = [asyncio.ensure_future(one.leave()) for one in leavers[:10]]
        await asyncio.to_thread(trouble, pair, postgres)
        leaving += [asyncio.ensure_future(one.leave()) for one in leavers[10:]]
        await asyncio.gather(*leaving)
        await asyncio.sleep(0.5)  # as long as the trouble lasts
        pair.heal()
        await asyncio.gather(*coming)
        for one in stay:
            stack.push_async_callback(one.leave)

        def true_for_all() -> bool:
            ids = {one.id for one in stay if not one.ended}
            return all(one.there == ids for one in stay if not one.ended)

        await seconds_until(true_for_all)
        assert [one.wrong for one in stay if one.wrong] == []
        assert all(not one.ended for one in stay[:2])
