"""Lobbies of real servers under clients that come and go as fast as they can: nobody has a wrong replica."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.rooms.client import Api
from tests.rooms.conftest import Pair
from tests.rooms.watcher import watcher
from tests.services.waiting import until_equal


@pytest.mark.parametrize("count", [1, 2], ids=["one worker", "two workers"])
async def test_leaving_and_joining_at_once_leaves_nobody_with_a_wrong_picture(
    pair: Pair, room: str, count: int
) -> None:
    servers = pair[:count]
    async with AsyncExitStack() as stack:
        stay = [await watcher(server, room) for server in servers]
        for one in stay:
            stack.push_async_callback(one.leave)
        for turn in range(40):
            here, there = servers[turn % count], servers[(turn + 1) % count]
            leaver = await watcher(here, room)
            _, newcomer = await asyncio.gather(leaver.leave(), watcher(there, room))
            stack.push_async_callback(newcomer.leave)
            stay.append(newcomer)

        ids = {one.id for one in stay}
        assert len(ids) == 40 + count
        api = Api(pair[0])

        async def members() -> int:
            return int((await api.room("lobby", room))["member_count"])

        await until_equal(len(ids), members)

        async def replicas() -> list[set[str]]:
            return [one.there ^ ids for one in stay if one.there != ids]

        await until_equal([], replicas)
        assert [one.wrong for one in stay if one.wrong] == []
