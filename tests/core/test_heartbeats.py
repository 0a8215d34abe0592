"""Heartbeats: a bounded number a second for each worker, and the notices by which they leave."""

from __future__ import annotations

import random
from typing import Any

import pytest

from routing_app.core.cluster.batching import EVERYBODY
from routing_app.core.cluster.heartbeats import HURRY_SECONDS, MOST_PER_SECOND, SPREAD, Heartbeats
from routing_app.core.cluster.liveness import KNOWN_SECONDS, Peers
from routing_app.core.cluster.notices import SHARE, Notices

pytestmark = pytest.mark.once


class Workers:
    """Workers that start at once. All receive the same, so they share what is known of the others."""

    def __init__(self, count: int) -> None:
        self.time = 100.0
        self.peers = Peers(lambda: self.time)
        vary = random.Random(1).random
        self.heartbeats = [Heartbeats(self.peers.known, lambda: self.time, vary) for _ in range(count)]
        self.late = 0
        """Heartbeats that came later than the one before had announced."""
        self._announced: dict[int, float] = {}

    def second(self, alive: int | None = None) -> int:
        """A second later; how many heartbeats of the first `alive` workers each of them receives."""
        self.time += 1.0
        self.peers.echo()
        senders = [name for name, beats in enumerate(self.heartbeats[:alive]) if beats.is_for_all()]
        for name in senders:
            self.late += self.time > self._announced.get(name, self.time)
            self._announced[name] = self.time + self.heartbeats[name].longest + 1.0
            self.peers.received(str(name))
        return len(senders)


def test_each_of_a_thousand_workers_receives_a_bounded_number_of_heartbeats() -> None:
    workers = Workers(1000)
    received = [workers.second() for _ in range(120)]

    assert received[:2] == [1000, 1000], "none knew the others, and each has announced the second one"
    assert sum(received[2:]) / 118 <= 1.05 * MOST_PER_SECOND
    assert max(received[2:]) <= 2 * MOST_PER_SECOND
    assert workers.late == 0
    assert workers.peers.known() == 1000, "those that live are counted"
    longest = workers.heartbeats[0].longest
    assert longest == pytest.approx(10 * (1 + SPREAD))
    assert longest < KNOWN_SECONDS


@pytest.mark.parametrize("count", [1, 2, 10, MOST_PER_SECOND])
def test_few_workers_send_each_heartbeat_to_all(count: int) -> None:
    workers = Workers(count)

    assert [workers.second() for _ in range(5)] == [count] * 5
    assert workers.heartbeats[0].longest == 1.0


def test_when_most_workers_have_gone_the_others_send_every_second_again() -> None:
    workers = Workers(300)
    for _ in range(5):
        workers.second()
    for _ in range(int(KNOWN_SECONDS) + 2):
        workers.second(alive=50)

    assert [workers.second(alive=50) for _ in range(3)] == [50] * 3


def test_something_that_all_have_to_ask_for_is_told_every_second() -> None:
    workers = Workers(500)
    beats = workers.heartbeats[0]
    for _ in range(3):
        workers.second()
    beats.hurry()
    told = []
    for _ in range(int(HURRY_SECONDS) + 5):
        told.append(beats.is_for_all())
        workers.time += 1

    assert told[: int(HURRY_SECONDS)] == [True] * int(HURRY_SECONDS)
    assert not all(told)


class Sent:
    """Notices, and what was sent of them; addresses in `broken` fail."""

    def __init__(self, known: int) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.broken: set[str] = set()
        self.notices = Notices(self._send, lambda: known)

    async def _send(self, address: str, envelope: Any) -> None:
        if address in self.broken:
            raise ConnectionError
        self.sent.append((address, envelope["n"]))

    def add(self, address: str, kind: str, number: int) -> None:
        self.notices.add(address, kind, lambda: {"n": number} if number else None)


async def test_one_notice_of_a_kind_waits_for_an_address() -> None:
    sent = Sent(10)
    for number, (address, kind) in enumerate(
        [("a", "hello"), ("a", "hello"), ("a", "ask"), ("b", "hello")], 1
    ):
        sent.add(address, kind, number)
    sent.add("c", "ask", 0)
    assert len(sent.notices) == 4
    sent.broken = {"b"}
    await sent.notices.send(1)

    assert sent.sent == [("a", 1), ("a", 3)]
    assert len(sent.notices) == 0


@pytest.mark.parametrize(("many", "addresses"), [(3, 3), (5, 1)])
async def test_heartbeats_for_many_single_workers_are_one_to_all(many: int, addresses: int) -> None:
    sent = Sent(4 * SHARE)
    for number in range(1, many + 1):
        sent.add(f"worker:{number}", "heartbeat", number)
    sent.add("worker:1", "ask", 9)
    await sent.notices.send(1)

    assert len(sent.sent) == addresses + 1
    assert (EVERYBODY in dict(sent.sent)) is (many == 5)
    assert ("worker:1", 9) in sent.sent
