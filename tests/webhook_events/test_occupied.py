"""Addresses: `occupied` and `vacated` alternate for each webhook, however workers race or die."""

from __future__ import annotations

import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, cast

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from routing_app.core.cluster.layers import ProcessChannelLayer
from routing_app.core.delivery.hub import Hub
from routing_app.core.leases import reach, rows
from routing_app.core.models import LEASE_SECONDS, WorkerRecord
from routing_app.core.models.occupied import AddressHolder, OccupiedAddress
from routing_app.core.models.webhooks import Delivery, Webhook
from routing_app.core.webhooks import occupancy as occupancy_module
from routing_app.core.webhooks import occupied
from routing_app.core.webhooks.known import webhooks
from routing_app.core.webhooks.occupancy import LOOK_SECONDS, Occupancy
from routing_app.core.webhooks.occupied import VACANT_SECONDS
from tests.core.harness import Node, scaled
from tests.webhook_events.outbox import counted, subscribe, told

pytestmark = pytest.mark.django_db(transaction=True)

A, B = "room:bus/a", "room:bus/b"
OCCUPIED, VACATED = "address.occupied", "address.vacated"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coroutines of this module end without a loop: queries in this thread, pauses of no time.

    The time since which an address is empty stands still as well: `Time` moves it.
    """

    async def query(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    stopped = timezone.now()
    monkeypatch.setattr(occupied, "Now", lambda: stopped)
    monkeypatch.setattr(occupancy_module, "query", query)
    monkeypatch.setattr(occupancy_module, "APART_SECONDS", 0)


def finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that waits for nothing."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        pass


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def go_on(self, seconds: float) -> None:
        """Time passes, for the database as well."""
        self.now += seconds
        for row in OccupiedAddress.objects.exclude(empty_since=None):
            assert row.empty_since is not None
            row.empty_since -= timedelta(seconds=seconds)
            row.save()


class LocalHub:
    """The subscribers of one process, by their number."""

    def __init__(self) -> None:
        self.occupancy: Any = None
        self._counts: Counter[str] = Counter()

    def has(self, address: str) -> bool:
        return self._counts[address] > 0

    def addresses(self) -> list[str]:
        return [address for address, count in self._counts.items() if count > 0]

    def come(self, address: str) -> None:
        self._counts[address] += 1
        if self._counts[address] == 1 and self.occupancy is not None:
            self.occupancy.came(address)

    def go(self, address: str) -> None:
        if self._counts[address]:
            self._counts[address] -= 1
            if not self._counts[address] and self.occupancy is not None:
                self.occupancy.left(address)


class Process:
    """A worker that writes which addresses are occupied when the test says so."""

    def __init__(self, time: Time) -> None:
        self.id = secrets.token_hex(8)
        self.hub = LocalHub()
        self.is_lapsed = False
        self.is_sure = False
        """True when its rows are what it thinks."""
        self.occupancy = Occupancy(self.id, cast(Hub, self.hub), self._spawn, time)
        self.renew()
        self.occupancy.use()

    @staticmethod
    def _spawn(coroutine: Any) -> Any:
        coroutine.close()

    def settle(self) -> None:
        finish(self.occupancy.settle())
        rows = AddressHolder.objects.filter(worker_id=self.id).values_list("address", flat=True)
        self.is_sure = not self.is_lapsed and set(rows) == self.occupancy._held

    def holds(self, address: str) -> bool:
        """True when nobody may say that this address is vacated."""
        return self.is_sure and self.hub.has(address) and address in self.occupancy._held

    def renew(self) -> None:
        """Have a row, and a lease."""
        self.is_lapsed = False
        leased_at = reach.read().witnessed
        if not WorkerRecord.objects.filter(pk=self.id).update(leased_at=leased_at, renewed_at=Now()):
            WorkerRecord.objects.create(id=self.id, host="h", pid=1, leased_at=leased_at)

    def lapse(self) -> None:
        """Renew no more, until the lease is over."""
        self.is_lapsed, self.is_sure = True, False
        ago = reach.read().witnessed - timedelta(seconds=LEASE_SECONDS + 1)
        WorkerRecord.objects.filter(pk=self.id).update(leased_at=ago, renewed_at=ago)


def forget(process: Process) -> None:
    """Delete the row of a worker, as a sweep does, or the worker itself at its end."""
    rows.forget_workers(WorkerRecord.objects.filter(pk=process.id))


VERBS = [*["come"] * 5, *["go"] * 5, "lapse", "renew", "be_swept", "restart", "die", "switch"]


class Alternating:
    """Three workers, two addresses, two webhooks: subscribers come and go, workers lapse, die and return."""

    def __init__(self, chance: random.Random) -> None:
        for model in (Delivery, OccupiedAddress, AddressHolder, WorkerRecord, Webhook):
            model._default_manager.all().delete()
        self.chance = chance
        self.time = Time()
        self.seen: set[str] = set()
        self.is_told: dict[tuple[int, str], bool] = {}
        self.hooks = [subscribe("address.*"), subscribe("*", addresses=[B])]
        self.processes = [Process(self.time) for _ in range(3)]

    def turn(self) -> None:
        """Something happens, time passes, and some workers write what they know."""
        verb = self.chance.choice(VERBS)
        getattr(self, f"_{verb}")(self.chance.choice(self.processes), self.chance.choice([A, B]))
        self.look()
        self.time.go_on(self.chance.choice([0.5, VACANT_SECONDS, VACANT_SECONDS + LOOK_SECONDS]))
        for one in self.chance.sample(self.processes, self.chance.randrange(4)):
            self._settle_if_listed(one)

    def _settle_if_listed(self, process: Process) -> None:
        """A worker whose lease is over may still write, as long as its row is there."""
        if WorkerRecord.objects.filter(pk=process.id).exists():
            process.settle()
            self.look()

    def _come(self, process: Process, address: str) -> None:
        process.hub.come(address)

    def _go(self, process: Process, address: str) -> None:
        process.hub.go(address)

    def _lapse(self, process: Process, address: str) -> None:
        """It renews no more, and another one may see that."""
        process.lapse()
        self.time.go_on(LOOK_SECONDS)
        self._settle_if_listed(self.chance.choice(self.processes))

    def _renew(self, process: Process, address: str) -> None:
        process.renew()

    def _be_swept(self, process: Process, address: str) -> None:
        if process.is_lapsed:
            forget(process)

    def _restart(self, process: Process, address: str) -> None:
        forget(process)
        self.processes[self.processes.index(process)] = Process(self.time)

    def _die(self, process: Process, address: str) -> None:
        process.lapse()
        self.processes[self.processes.index(process)] = Process(self.time)

    def _switch(self, process: Process, address: str) -> None:
        """A webhook is switched off, or on: what it was told before counts no more."""
        hook = self.chance.choice(self.hooks)
        hook.enabled = not hook.enabled
        hook.save()
        webhooks.read()
        for one in self.processes:
            one.occupancy.use()
        process.renew()
        process.settle()
        self.look()
        if not hook.enabled:
            self.is_told = {pair: is_on for pair, is_on in self.is_told.items() if pair[0] != hook.pk}

    def look(self) -> None:
        """Of each webhook and address, each event is the other one than the last."""
        new = Delivery.objects.exclude(pk__in=self.seen).values_list("pk", "webhook_id", "type", "body")
        events: dict[tuple[int, str], list[str]] = {}
        for pk, webhook, type, body in new:
            self.seen.add(pk)
            if type in (OCCUPIED, VACATED):
                address = A if A in body else B
                events.setdefault((webhook, address), []).append(type)
        for pair, types in events.items():
            assert len(types) == 1, "two in one step"
            is_on = types == [OCCUPIED]
            assert self.is_told.get(pair, False) is not is_on, (pair, types)
            assert is_on or not any(process.holds(pair[1]) for process in self.processes), "noise"
            self.is_told[pair] = is_on

    def end(self) -> None:
        """In the end all is told as it is."""
        for _ in range(4):
            for process in self.processes:
                process.renew()
                process.settle()
                self.look()
            self.time.go_on(VACANT_SECONDS + LOOK_SECONDS)
        for hook in self.hooks:
            for address in (A, B) if hook.addresses == [] else (B,):
                is_there = any(process.hub.has(address) for process in self.processes)
                assert self.is_told.get((hook.pk, address), False) is (is_there and hook.enabled)


@pytest.mark.once
def test_occupied_and_vacated_alternate_whatever_workers_do() -> None:
    seen: list[int] = []

    # A smaller seed is no simpler course of things.
    @settings(max_examples=scaled(8), phases=[Phase.reuse, Phase.generate])
    @given(seed=st.integers(0, 2**32))
    def check(seed: int) -> None:
        state = Alternating(random.Random(seed))
        for _ in range(50):
            state.turn()
        state.end()
        seen.append(len(state.seen))

    check()
    assert sum(seen) > 3


class TestOneWorker:
    """What the events say."""

    @pytest.fixture(autouse=True)
    def process(self) -> None:
        self.webhook = subscribe("address.*")
        self.time = Time()
        self.one = Process(self.time)

    def test_the_first_subscriber_occupies_and_the_last_one_vacates(self) -> None:
        for _ in range(2):
            self.one.hub.come(A)
        self.one.settle()
        assert told() == [(OCCUPIED, {"address": A})]
        self.one.hub.go(A)
        self.time.go_on(60)
        self.one.settle()
        assert counted() == {OCCUPIED: 1}
        self.one.hub.go(A)
        self.time.go_on(VACANT_SECONDS + 0.1)
        self.one.settle()
        assert sorted(told()) == [(OCCUPIED, {"address": A}), (VACATED, {"address": A})]

    def test_who_reconnects_makes_no_noise(self) -> None:
        self.one.hub.come(A)
        for _ in range(5):
            self.one.settle()
            self.one.hub.go(A)
            self.time.go_on(VACANT_SECONDS - 0.1)
            self.one.settle()
            self.one.hub.come(A)
        self.one.settle()
        assert counted() == {OCCUPIED: 1}

    def test_who_reconnects_to_another_worker_makes_no_noise(self) -> None:
        other = Process(self.time)
        self.one.hub.come(A)
        self.one.settle()
        self.one.hub.go(A)
        self.time.go_on(1)
        other.hub.come(A)
        other.settle()
        self.time.go_on(60)
        for each in (self.one, other):
            each.settle()
        assert counted() == {OCCUPIED: 1}

    def test_a_restart_makes_no_noise_for_who_comes_back(self) -> None:
        self.one.hub.come(A)
        self.one.settle()
        forget(self.one)
        next_one = Process(self.time)
        next_one.settle()
        self.time.go_on(1)
        next_one.hub.come(A)
        next_one.settle()
        self.time.go_on(60)
        next_one.settle()
        assert counted() == {OCCUPIED: 1}

    def test_a_worker_that_died_is_vacated_by_another_when_its_lease_is_over(self) -> None:
        other = Process(self.time)
        for address in (A, B):
            self.one.hub.come(address)
        other.hub.come(B)
        for each in (self.one, other):
            each.settle()
        self.one.lapse()
        for _ in range(4):
            self.time.go_on(LOOK_SECONDS)
            other.settle()
        assert Counter((type, data["address"]) for type, data in told()) == {
            (OCCUPIED, A): 1,
            (OCCUPIED, B): 1,
            (VACATED, A): 1,
        }

    def test_a_worker_that_comes_back_occupies_again(self) -> None:
        other = Process(self.time)
        self.one.hub.come(A)
        self.one.settle()
        self.one.lapse()
        for _ in range(4):
            self.time.go_on(LOOK_SECONDS)
            other.settle()
        assert counted() == {OCCUPIED: 1, VACATED: 1}
        self.one.renew()
        for _ in range(2):
            self.time.go_on(LOOK_SECONDS)
            self.one.settle()
        assert counted() == {OCCUPIED: 2, VACATED: 1}

    def test_a_webhook_that_begins_to_want_is_told_once_of_all_that_is_occupied(self) -> None:
        other = Process(self.time)
        for each in (self.one, other):
            each.hub.come(A)
            each.settle()
        late = subscribe("address.*")
        for each in (self.one, other):
            each.occupancy.use()
            each.settle()
        assert told(late) == [(OCCUPIED, {"address": A})]
        assert told(self.webhook) == [(OCCUPIED, {"address": A})]

    def test_a_webhook_that_wants_only_one_of_both_gets_that(self) -> None:
        only = subscribe("address.vacated", addresses=["room:bus/*"])
        self.one.occupancy.use()
        for address in (A, "room:lobby/x"):
            self.one.hub.come(address)
        self.one.settle()
        for address in (A, "room:lobby/x"):
            self.one.hub.go(address)
        self.time.go_on(VACANT_SECONDS + 0.1)
        self.one.settle()
        assert told(only) == [(VACATED, {"address": A})]

    def test_nothing_is_kept_when_nobody_wants_to_know(self) -> None:
        self.one.hub.come(A)
        self.one.settle()
        Webhook.objects.update(enabled=False)
        webhooks.read()
        self.one.occupancy.use()
        self.one.settle()
        assert self.one.hub.occupancy is None
        assert (AddressHolder.objects.count(), OccupiedAddress.objects.count()) == (0, 0)
        assert counted() == {OCCUPIED: 1}

    def test_an_address_that_no_database_holds_is_left_out(self) -> None:
        self.one.hub.come("room:bus/\x00")
        self.one.hub.come("room:bus/" + "x" * 600)
        self.one.settle()
        assert told() == []


async def test_the_hub_tells_of_first_and_last_subscribers_alone() -> None:
    node = Node(ProcessChannelLayer())
    seen: list[tuple[str, str]] = []

    class Recording:
        came: ClassVar = lambda self, address: seen.append(("came", address))
        left: ClassVar = lambda self, address: seen.append(("left", address))

    node.hub.occupancy = Recording()  # type: ignore[assignment]
    first, second = await node.subscriber(A), await node.subscriber(A, B)
    node.hub.drop(first)
    node.hub.drop(second)
    assert seen == [("came", A), ("came", B), ("left", A), ("left", B)]
    await node.relay.stop()


@pytest.mark.skipif(not django_settings.REDIS_URL, reason="SQLite is for one process")
def test_workers_that_write_at_the_same_time_tell_each_change_once() -> None:
    """Threads are workers: all hold and release the same addresses, and some of their transactions fail."""
    subscribe("address.*")
    time = Time()
    workers = [Process(time).id for _ in range(4)]
    addresses = [f"room:bus/{number}" for number in range(8)]
    ends: list[set[str]] = []

    def work(worker: str, seed: int) -> None:
        chance = random.Random(seed)
        held: set[str] = set()
        for _ in range(25):
            some = set(chance.sample(addresses, 4))
            hold, release = sorted(some - held), sorted(some & held)
            if chance.random() < 0.2:
                with transaction.atomic():
                    occupied.change(worker, hold, release)
                    transaction.set_rollback(True)
                continue
            occupied.change(worker, hold, release)
            held = (held | set(hold)) - set(release)
        ends.append(held)
        connection.close()

    threads = [threading.Thread(target=partial(work, worker, seed)) for seed, worker in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == len(workers)
    numbers = Counter((type, data["address"]) for type, data in told())
    there = set().union(*ends)
    assert sum(numbers.values()) > len(addresses)
    for address in addresses:
        assert numbers[OCCUPIED, address] - numbers[VACATED, address] == (address in there)
