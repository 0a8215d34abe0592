"""Any order of publishes, trims, expiries, deletions and restarts: recovered are exactly the missing ones.

One machine for the store in memory, whose process stops in order or crashes, and for the one on Redis, whose
server is restarted from a snapshot of any time.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    rule,
    run_state_machine_as_test,
)

from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.streams import lane, record, snapshot
from routing_app.core.streams.memory import MemoryStore
from routing_app.core.streams.redis import RedisStore
from routing_app.core.streams.store import Append, Bounds, StreamStore
from tests.core.harness import scaled
from tests.streams.harness import Clock, appended

pytestmark = pytest.mark.once

ADDRESSES = ["token:a", "token:b"]
sizes = st.sampled_from([1, 2, 5, 20])
lives = st.sampled_from([10, 100])


class Streams(RuleBasedStateMachine):
    """A store, and all that was ever published: epoch and offset name one content for good."""

    def make(self) -> None:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.bounds = dict.fromkeys(ADDRESSES, Bounds(5, 100))
        self.contents: dict[tuple[str, Position], int] = {}
        """Address and position -> the message there."""
        self.times: dict[tuple[str, Position], float] = {}
        self.ends: dict[str, list[Position]] = {address: [] for address in ADDRESSES}
        """Every end of a stream that a client may have seen, the last one last."""
        self.over: set[tuple[str, str]] = set()
        """Addresses and epochs of theirs that must not come back."""
        self.now: dict[str, str] = {}
        self.number = 0
        self.store: StreamStore
        self.make()

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.run(self.store.stop())
        self.runner.close()

    def _in_epoch(self, address: str, epoch: str) -> None:
        assert (address, epoch) not in self.over
        before = self.now.get(address)
        if before is not None and before != epoch:
            self.over.add((address, before))
        self.now[address] = epoch

    @rule(addresses=st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2, unique=True))
    def publish(self, addresses: list[str]) -> None:
        self.number += 1
        publication = Publication(tuple(addresses), self.number, id=str(self.number))
        streams = {address: self.bounds[address] for address in addresses}
        append = Append(record.encode(publication, streams), streams)
        began = self.clock()
        positions = self.run(appended(self.store, append)).positions
        for address, position in positions.items():
            self._in_epoch(address, position.epoch)
            assert (address, position) not in self.contents
            self.contents[address, position] = self.number
            self.times[address, position] = began
            self.ends[address].append(position)

    @rule(address=st.sampled_from(ADDRESSES), size=sizes, seconds=lives)
    def change_rule(self, address: str, size: int, seconds: int) -> None:
        self.bounds[address] = Bounds(size, seconds)

    @rule(seconds=st.sampled_from([3, 30, 101]))
    def wait(self, seconds: int) -> None:
        self.clock.moved += seconds

    @rule(address=st.sampled_from(ADDRESSES))
    def delete(self, address: str) -> None:
        before = self.now.get(address)
        position = self.run(self.store.delete(address, self.bounds[address]))
        assert position.epoch != before
        self._in_epoch(address, position.epoch)
        self.ends[address].append(position)

    @rule(address=st.sampled_from(ADDRESSES), back=st.integers(0, 30), limit=st.sampled_from([1, 3, 100]))
    def recover(self, address: str, back: int, limit: int) -> None:
        if not self.ends[address]:
            return
        since = self.ends[address][max(-1 - back, -len(self.ends[address]))]
        page = self.run(self.store.read(address, self.bounds[address], since, limit))
        self._in_epoch(address, page.epoch)
        if not page.recovered:
            assert page.entries == []
            if page.epoch == since.epoch and since.offset <= page.offset:
                # Nothing is withheld that must be there: by no rule may the last one be gone so soon.
                following = self.times[address, Position(since.epoch, since.offset + 1)]
                assert page.offset - since.offset > 1 or following < self.clock() - 9
            return
        offsets = [entry.offset for entry in page.entries]
        last = min(page.offset, since.offset + limit)
        assert offsets == list(range(since.offset + 1, last + 1))
        assert page.more == (last < page.offset)
        for entry in page.entries:
            position = Position(page.epoch, entry.offset)
            # What was kept across a restart of the server has its old offsets in the new epoch.
            if (address, position) in self.contents:
                assert entry.publication.message == self.contents[address, position]
            self.contents.setdefault((address, position), entry.publication.message)

    @rule(address=st.sampled_from(ADDRESSES), limit=st.sampled_from([0, 1, 3, 100]))
    def newest(self, address: str, limit: int) -> None:
        began = self.clock()
        page = self.run(self.store.read(address, self.bounds[address], None, limit))
        self._in_epoch(address, page.epoch)
        self.ends[address].append(page.position)
        size, seconds = self.bounds[address]
        assert len(page.entries) <= min(size, limit)
        offsets = [entry.offset for entry in page.entries]
        assert offsets == list(range(page.offset - len(offsets) + 1, page.offset + 1))
        assert all(entry.at >= began - seconds - 1 for entry in page.entries)


def test_any_life_of_streams_in_memory(tmp_path: Path) -> None:
    class InMemory(Streams):
        def make(self) -> None:
            self.store: MemoryStore = MemoryStore(self.clock)

        @rule()
        def stop_and_start(self) -> None:
            self.run(self.store.stop())
            snapshot.write(tmp_path, snapshot.Kept(self.store.streams(), self.store.once()))
            self.make()
            self.store.restore(*snapshot.take(tmp_path))
            assert not any(snapshot.take(tmp_path))

        @rule()
        def crash(self) -> None:
            self.make()
            self.over.update(self.now.items())
            self.now.clear()

    run_state_machine_as_test(
        InMemory,
        settings=settings(
            max_examples=scaled(40), stateful_step_count=40, suppress_health_check=list(HealthCheck)
        ),
    )


def test_any_life_of_streams_on_redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart is a change of the run id, with the data of now or of before."""
    runs = iter(secrets.token_hex(8).encode() for _ in range(10**6))
    current = [next(runs)]
    monkeypatch.setattr(lane, "_run_id", lambda info: current[0])

    class OnRedis(Streams):
        def make(self) -> None:
            self.prefix = secrets.token_hex(6)
            self.store: RedisStore = RedisStore(redis_url, self.prefix, self.clock.ahead)
            self.dump: dict[bytes, bytes] = {}

        def keys(self, client: Any) -> list[bytes]:
            return list(client.scan_iter(f"{self.prefix}.*", count=1000))

        @rule()
        def save(self) -> None:
            with redis_client.Redis.from_url(redis_url) as client:
                self.dump = {key: client.dump(key) for key in self.keys(client)}

        @rule(stale=st.booleans())
        def restart(self, stale: bool) -> None:
            self.run(self.store.stop())
            current[0] = next(runs)
            if stale:
                with redis_client.Redis.from_url(redis_url) as client:
                    if keys := self.keys(client):
                        client.delete(*keys)
                    for key, value in self.dump.items():
                        client.restore(key, 0, value)
            self.over.update(self.now.items())
            self.now.clear()
            self.store = RedisStore(redis_url, self.prefix, self.clock.ahead)

    run_state_machine_as_test(
        OnRedis,
        settings=settings(
            max_examples=scaled(15), stateful_step_count=30, suppress_health_check=list(HealthCheck)
        ),
    )
