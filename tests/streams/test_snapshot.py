"""Streams in memory between a graceful stop and the next start, and after a crash."""

from __future__ import annotations

import stat
import tracemalloc
from pathlib import Path

import pytest

from routing_app.core.delivery.publication import Position
from routing_app.core.streams import snapshot
from routing_app.core.streams.memory import MemoryStore
from routing_app.core.streams.store import Bounds
from routing_app.core.streams.stores import Stores
from tests.streams.harness import A, B, Clock, MemoryKind

pytestmark = pytest.mark.once


@pytest.fixture
def clock() -> Clock:
    return Clock()


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def restarted(kind: MemoryKind, folder: Path) -> MemoryKind:
    """The store of the next process after a graceful stop."""
    await kind.store.stop()
    await Stores([kind.store]).keep(folder)
    after = MemoryKind(kind.clock)
    Stores([after.store]).take_over(folder)
    return after


async def test_a_graceful_stop_and_start_goes_on(tmp_path: Path, clock: Clock):
    kind = MemoryKind(clock)
    await kind.append("é\ud800", A)
    before = (await kind.append(2, A, B)).positions

    after = await restarted(kind, tmp_path)

    assert (await after.read(A)).position == before[A]
    assert await after.messages(A) == ["é\ud800", 2]
    assert (await after.read(B)).entries[0].publication.positions == before
    assert (await after.append(3, A)).positions[A] == Position(before[A].epoch, 3)
    assert await after.messages(A, before[A]) == [3]


async def test_a_message_that_is_sent_again_after_a_stop_and_start_arrives_once(tmp_path: Path, clock: Clock):
    kind = MemoryKind(clock)
    first = await kind.append(1, A, B, once="key\nmine")
    unkept = await kind.append("of no stream", once="key\nother")
    await kind.append(2, A, once="key\nold", seconds=60)
    clock.moved += 100

    after = await restarted(kind, tmp_path)

    assert await after.append("again", A, B, once="key\nmine") == first._replace(repeated=True)
    assert await after.append("again", once="key\nother") == unkept._replace(repeated=True)
    assert not (await after.append(3, A, once="key\nold")).repeated
    assert await after.messages(A) == [1, 2, 3]
    clock.moved += 201
    assert not (await after.append(4, A, once="key\nmine")).repeated


async def test_a_crash_after_a_start_brings_no_epoch_back(tmp_path: Path, clock: Clock):
    """The file is gone as soon as its streams are in use."""
    kind = MemoryKind(clock)
    before = (await kind.append(1, A)).positions[A]
    second = await restarted(kind, tmp_path)
    await second.append(2, A)

    third = MemoryKind(clock)  # the second one crashed
    Stores([third.store]).take_over(tmp_path)

    assert (await third.read(A)).epoch != before.epoch
    assert files_in(tmp_path) == []


async def test_what_has_expired_between_is_not_recovered(tmp_path: Path, clock: Clock):
    kind = MemoryKind(clock)
    epoch = (await kind.append(1, A)).positions[A].epoch
    await kind.append(2, A)
    await kind.store.stop()
    await Stores([kind.store]).keep(tmp_path)
    clock.moved += 301
    after = MemoryKind(clock)
    Stores([after.store]).take_over(tmp_path)

    page = await after.read(A, Position(epoch, 1))
    assert (page.recovered, page.position) == (False, Position(epoch, 2))


async def test_only_the_owner_may_read_the_file(tmp_path: Path, clock: Clock):
    kind = MemoryKind(clock)
    await kind.append("secret", A)
    await Stores([kind.store]).keep(tmp_path / "new")

    (file,) = (tmp_path / "new").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]\n",
        '{"version": 1}\n',
        '{"version": 2}\n{"address": "a"}\n',
        '{"version": 2}\n{"once": "a"}\n',
    ],
)
async def test_a_file_that_cannot_be_read_is_taken_away(tmp_path: Path, content: str):
    (tmp_path / snapshot.NAME).write_text(content)
    store = MemoryStore()

    Stores([store]).take_over(tmp_path)

    assert store.streams() == {}
    assert files_in(tmp_path) == []


async def test_streams_that_nobody_uses_are_forgotten(clock: Clock):
    kind = MemoryKind(clock)
    epoch = (await kind.append(1, A)).positions[A].epoch
    clock.moved += 400
    await kind.store.sweep()
    assert list(kind.store.streams()) == [A]
    clock.moved += 86_400
    await kind.store.sweep()

    assert kind.store.streams() == {}
    assert (await kind.read(A)).epoch != epoch


async def test_a_message_of_100_bytes_takes_500_at_most(clock: Clock):
    kind = MemoryKind(clock)
    bounds = Bounds(10_000, 300)
    await kind.append("x" * 100, A, bounds=bounds)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(2000):
        await kind.append(f"{number:0100d}", A, bounds=bounds)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert grown / 2000 <= 500
