"""Revocations while the layer between two real workers is cut."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from websockets.exceptions import InvalidStatus

from tests.faults.cluster import Pair, seconds_until, subscribe, subscribed
from tests.services.waiting import until

pytestmark = pytest.mark.once

REVOKED = 4008


@pytest.fixture
def token() -> str:
    return secrets.token_hex(4)


async def test_a_worker_without_the_layer_reads_what_it_was_not_told(pair: Pair, token: str) -> None:
    async with (
        subscribed(pair.one.clients.port, token) as [near],
        subscribed(pair.two.clients.port, token) as [far],
        subscribed(pair.two.clients.port, f"{token}-other") as [other],
    ):
        pair.two.redis.swallow()
        made = await asyncio.to_thread(pair.one.call, "POST", "/api/revocations/", {"token": token})
        assert made.status == 201, made
        await seconds_until(lambda: (near.closed, far.closed) == (REVOKED, REVOKED))
        for member in pair:
            with pytest.raises(InvalidStatus) as refused:
                await subscribe(member.clients.port, token)
            assert refused.value.response.status_code == 403
        assert other.closed is None

        path = f"/api/revocations/{made.json()['id']}/"
        assert (await asyncio.to_thread(pair.one.call, "DELETE", path)).status == 204
        pair.heal()
        await until(lambda: comes_in(pair, token))


async def comes_in(pair: Pair, token: str) -> bool:
    """True once both workers let the client in again."""
    try:
        for member in pair:
            await (await subscribe(member.clients.port, token)).leave()
    except InvalidStatus:
        return False
    return True
