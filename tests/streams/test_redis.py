"""The store on a real Redis that is restarted, with and without its data, loses connections and scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis as client

from routing_app.core.delivery.publication import Position
from routing_app.core.streams import lane
from routing_app.core.streams.redis import RedisStore
from routing_app.core.streams.store import StoreUnavailable
from tests.services.redis import Redis
from tests.services.waiting import until
from tests.streams.harness import A, B, Clock, RedisKind

pytestmark = pytest.mark.once


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of this test alone."""
    with Redis(tmp_path) as one:
        yield one


@pytest.fixture
async def kind(server: Redis) -> AsyncIterator[RedisKind]:
    clock = Clock()
    one = RedisKind(clock, RedisStore(server.url, "test", clock.ahead))
    yield one
    await one.store.stop()


def command(server: Redis, *words: str) -> object:
    with client.Redis.from_url(server.url) as one:
        return one.execute_command(*words)


async def epoch_after(kind: RedisKind, address: str) -> Position:
    """The end of a stream, as soon as the server answers again."""

    async def look() -> Position | None:
        try:
            return (await kind.read(address)).position
        except StoreUnavailable:
            return None

    found = await until(look)
    assert isinstance(found, Position)
    return found


async def test_a_restart_without_data_is_a_new_epoch(server: Redis, kind: RedisKind):
    before = (await kind.append(1, A)).positions[A]
    server.kill()
    server.start()

    after = await epoch_after(kind, A)

    assert after.epoch != before.epoch
    assert after.offset == 0
    assert not (await kind.read(A, before)).recovered


async def test_a_restart_from_a_stale_snapshot_is_a_new_epoch(
    server: Redis, kind: RedisKind, monkeypatch: pytest.MonkeyPatch
):
    """Its last messages are gone, and others will have their offsets."""
    monkeypatch.setattr(lane, "IDLE_SECONDS", 0.0)  # it may be back sooner
    for number in range(1, 3):
        await kind.append(number, A)
    command(server, "SAVE")
    lost = (await kind.append(3, A)).positions[A]
    server.kill()
    server.start()

    after = await epoch_after(kind, A)

    assert after.epoch != lost.epoch
    for offset in range(4):
        assert not (await kind.read(A, Position(lost.epoch, offset))).recovered
    assert await kind.messages(A) == [1, 2]
    assert (await kind.append("other", A)).positions[A] == Position(after.epoch, 3)
    assert await kind.messages(A, after) == ["other"]
    page = await kind.read(A)
    assert (page.base, page.former) == (2, None)


async def test_the_epoch_stays_while_the_server_runs(server: Redis, kind: RedisKind):
    before = (await kind.append(1, A)).positions[A]
    other = RedisKind(Clock(), RedisStore(server.url, "test"))
    command(server, "SCRIPT", "FLUSH")
    command(server, "CLIENT", "KILL", "TYPE", "normal")

    await until(lambda: _appends(kind, A))
    assert (await other.read(A, before)).recovered
    await other.store.stop()


async def _appends(kind: RedisKind, address: str) -> bool:
    try:
        await kind.append("again", address)
    except StoreUnavailable:
        return False
    return True


async def test_scripts_that_the_server_has_forgotten_are_loaded_again_in_order(
    server: Redis, kind: RedisKind
):
    await kind.append(0, A)
    command(server, "SCRIPT", "FLUSH")

    await asyncio.gather(*(kind.append(number, A) for number in range(1, 8)))

    assert await kind.messages(A) == list(range(8))


async def test_deleted_keys_are_a_new_epoch_or_nothing_recovered(server: Redis, kind: RedisKind):
    before = (await kind.append(1, A)).positions[A]
    await kind.append(2, A)
    await kind.append(1, B)
    with client.Redis.from_url(server.url) as one:
        for key in one.scan_iter("test.s.*"):
            one.delete(key)

    gone = await kind.read(A, before)
    assert (gone.recovered, gone.epoch, gone.offset, gone.first) == (False, before.epoch, 2, 3)
    command(server, "FLUSHALL")
    assert (await kind.read(A)).epoch != before.epoch


async def test_while_the_server_is_out_nothing_waits_longer_than_the_patience(
    server: Redis, kind: RedisKind, monkeypatch: pytest.MonkeyPatch
):
    await kind.append(1, A)
    with monkeypatch.context() as hasty:
        hasty.setattr(lane, "PATIENCE_SECONDS", 0.2)
        server.kill()

        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await kind.append(2, A)
            with pytest.raises(StoreUnavailable):
                await kind.read(A)
    server.start()

    await epoch_after(kind, A)
    await until(lambda: _appends(kind, A))


async def test_a_server_that_hangs_is_given_up_and_its_answer_is_not_taken_for_another(
    server: Redis, kind: RedisKind, monkeypatch: pytest.MonkeyPatch
):
    await kind.append(1, A)
    command(server, "CLIENT", "PAUSE", "60000", "WRITE")
    with monkeypatch.context() as hasty:
        hasty.setattr(lane, "ANSWER_SECONDS", 0.1)
        with pytest.raises(StoreUnavailable):
            await kind.append(2, A)
    command(server, "CLIENT", "UNPAUSE")

    await until(lambda: _appends(kind, B))
    page = await kind.read(A)
    assert [entry.publication.message for entry in page.entries] in ([1], [1, 2])


async def test_keys_expire_by_themselves(server: Redis, kind: RedisKind):
    await kind.append(1, A, once="n")

    with client.Redis.from_url(server.url) as one:
        lives = {key[:7]: one.ttl(key) for key in one.scan_iter("test.[mis].*")}

    assert 0 < lives[b"test.s."] <= 300
    assert 0 < lives[b"test.i."] <= 300
    assert 86_400 < lives[b"test.m."] <= 86_700
