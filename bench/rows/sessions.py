"""Session control: creates and takeovers a second, and what it costs to hold thousands of sessions."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from statistics import median
from typing import Any, Final

from bench.bench import Bench
from bench.machine import LOAD_CORE, SERVER_CORE, busy_seconds, cpu_seconds, family
from bench.receiver import Receiver
from bench.section import Column, Mark, Reading, Results, Row, Section, Unavailable, at_least, at_most
from bench.sessions_load import Customers, Holder, Timed, flood, hold, pace, secret_of
from tests.services.postgres import Postgres, find_postgres
from tests.services.server import Server
from tests.sessions.http import Http
from tests.tokens.client import call

CUSTOMERS: Final = 1_000
IN_FLIGHT: Final = 32
RATE: Final = 300
HELD: Final = 5_000
SQLITE, POSTGRES = "SQLite, 1 worker", "PostgreSQL, 2 workers"
CREATES, TAKEOVERS, HOT, HOLDING = "create", "takeover", "create, one customer", f"hold {HELD:,} bound"
REPORTED: Final = "create, a webhook is told"
MOST_TIMES: Final = 1.3
"""The p99 of creates may be so many times as high where a webhook is told of each."""
TURNS: Final = 5
"""How often creates are measured without the webhook, and then with it."""
SETTLE_SECONDS: Final = 1.5
"""After the webhook was switched on or off: all workers know, and all deliveries have ended."""
REST_COLUMNS: Final = ("p50", "p99", "steady", "steady_below", "rate", "ms", "below")
HOT_LIMIT: Final = (
    "from sessions_app.models import Limit;"
    "Limit.objects.update(scope='account', maximum=3, policy='evict_oldest')"
)
"""A customer that creates without end has a limit; here each create evicts the oldest of three."""


@dataclass
class House:
    """A server and the processes that it stands on."""

    server: Server
    below: list[int]

    def used(self) -> tuple[float, float]:
        """Processor seconds of the server, and of what it stands on."""
        return cpu_seconds(family([self.server.pid])), cpu_seconds(family(self.below))


@contextmanager
def _house(bench: Bench, stack: str, **more: str) -> Iterator[House]:
    """A server on both cores, as the load that shares them."""
    with ExitStack() as services:
        services.callback(os.sched_setaffinity, 0, {LOAD_CORE})
        os.sched_setaffinity(0, {SERVER_CORE, LOAD_CORE})
        options, below = {"WORKERS": "1"}, []
        if stack == POSTGRES:
            if find_postgres() is None:
                raise Unavailable("PostgreSQL is not installed")
            postgres = services.enter_context(Postgres())
            options = {"WORKERS": "2", "DATABASE_URL": postgres.url(), "REDIS_URL": bench.redis.url}
            below = [postgres.process.pid, bench.redis.process.pid]
        server = Server(bench.new_folder(), options | more)
        services.callback(server.close)
        server.start()
        yield House(server, below)


@contextmanager
def _undisturbed(bench: Bench, house: House) -> Iterator[None]:
    """Note which part of the two cores others use during the context."""

    def others() -> float:
        ours = sum(house.used()) + cpu_seconds([os.getpid()])
        return sum(busy_seconds(core) for core in {SERVER_CORE, LOAD_CORE}) - ours

    start, before = time.monotonic(), others()
    yield
    bench.disturbance = max(bench.disturbance, (others() - before) / (time.monotonic() - start))


def _rest(stack: str, kind: str, bench: Bench) -> Reading:
    with ExitStack() as stays:
        house = stays.enter_context(_house(bench, stack, WEBHOOKS_PRIVATE="yes"))
        if kind == HOT:
            house.server.manage("shell", "-c", HOT_LIMIT)
        return asyncio.run(_drive(bench, house, kind, 2 if bench.quick else 6))


def _reported(stack: str, bench: Bench) -> Reading:
    with ExitStack() as stays:
        house = stays.enter_context(_house(bench, stack, WEBHOOKS_PRIVATE="yes"))
        receiver = stays.enter_context(Receiver())
        hook = {"name": "load", "url": f"http://127.0.0.1:{receiver.port}/", "events": ["session.created"]}
        made = call(house.server, "POST", "/api/webhooks/", {**hook, "enabled": False})
        assert made.status == 201
        path = f"/api/webhooks/{made.json()['id']}"
        return asyncio.run(_drive_in_turn(bench, house, receiver, path, 2 if bench.quick else 4))


async def _drive_in_turn(
    bench: Bench, house: House, receiver: Receiver, path: str, seconds: float
) -> Reading:
    """Creates at the rate without a webhook and with one, in turn on one server; as a flood with one."""
    http = Http(house.server.url)
    request, numbers = Customers(http, secret_of(house.server), CUSTOMERS).create, count()

    async def switched(on: bool, load: Coroutine[Any, Any, Timed]) -> tuple[Timed, tuple[float, float]]:
        """Load with the webhook on or off, and what an answer cost."""
        await asyncio.to_thread(call, house.server, "PATCH", path, {"enabled": on})
        await asyncio.sleep(SETTLE_SECONDS)
        before = house.used()
        timed = await load
        cost = _each(before, house.used(), timed)
        await http.close()  # the server closes connections that nobody uses
        return timed, cost

    await flood(request, IN_FLIGHT, 2, numbers)
    times, told = [], []
    costs: list[tuple[float, float]] = []
    with _undisturbed(bench, house):
        for _ in range(2 if bench.quick else TURNS):
            without, _ = await switched(False, pace(request, RATE, seconds, numbers))
            with_one, cost = await switched(True, pace(request, RATE, seconds, numbers))
            times.append(with_one.percentile(0.99) / without.percentile(0.99))
            told.append(with_one)
            costs.append(cost)
        fast, fast_cost = await switched(True, flood(request, IN_FLIGHT, seconds, numbers))
    answers = sum(len(one.latencies) for one in (*told, fast))
    if failed := sum(one.failed for one in (*told, fast)):
        return dict.fromkeys(REST_COLUMNS, f"{failed} failed")
    for _ in range(20):
        received = receiver.received().count
        if received >= answers:
            break
        await asyncio.sleep(0.5)
    if received != answers:
        return dict.fromkeys(REST_COLUMNS, f"{received:,} of {answers:,} were told")
    return {
        "p50": median(one.percentile(0.5) for one in told),
        "p99": median(one.percentile(0.99) for one in told),
        "times": median(times),
        "steady": median(server for server, _ in costs),
        "steady_below": median(below for _, below in costs),
        "rate": fast.rate,
        "ms": fast_cost[0],
        "below": fast_cost[1],
    }


async def _drive(bench: Bench, house: House, kind: str, seconds: float) -> Reading:
    http = Http(house.server.url)
    customers = Customers(http, secret_of(house.server), 1 if kind == HOT else CUSTOMERS)
    request = customers.take_over if kind == TAKEOVERS else customers.create
    numbers = count()
    await flood(request, IN_FLIGHT, 2, numbers)
    with _undisturbed(bench, house):
        start = house.used()
        steady = await pace(request, RATE, seconds, numbers)
        middle = house.used()
        fast = await flood(request, IN_FLIGHT, seconds, numbers)
        end = house.used()
    await http.close()
    failed = fast.failed + steady.failed
    if failed:
        return dict.fromkeys(REST_COLUMNS, f"{failed} failed")
    server, below = _each(start, middle, steady)
    fast_server, fast_below = _each(middle, end, fast)
    return {
        "p50": steady.percentile(0.5),
        "p99": steady.percentile(0.99),
        "steady": server,
        "steady_below": below,
        "rate": fast.rate,
        "ms": fast_server,
        "below": fast_below,
    }


def _each(before: tuple[float, float], after: tuple[float, float], timed: Timed) -> tuple[float, float]:
    """Milliseconds of processor time an answer: of the server, and of what it stands on."""
    answers = max(1, len(timed.latencies))
    return 1000 * (after[0] - before[0]) / answers, 1000 * (after[1] - before[1]) / answers


def _holding(bench: Bench) -> Reading:
    with _house(bench, SQLITE) as house:
        return asyncio.run(_hold(bench, house, 300 if bench.quick else HELD, 30 if bench.quick else 60))


async def _hold(bench: Bench, house: House, players: int, seconds: float) -> Reading:
    http = Http(house.server.url)
    customers = Customers(http, secret_of(house.server), players)
    holders: list[Holder] = []
    for start in range(0, players, 100):
        numbers = range(start, min(players, start + 100))
        replies = await asyncio.gather(*[customers.create(number) for number in numbers])
        holders += await hold([reply.json["endpoint"] for reply in replies])
    await asyncio.sleep(5)
    with _undisturbed(bench, house):
        before, pongs = house.used()[0], -sum(holder.pongs for holder in holders)
        await asyncio.sleep(seconds)
        used = house.used()[0] - before
    pongs += sum(holder.pongs for holder in holders)
    for holder in holders:
        holder.close()
    await http.close()
    fault = f"only {pongs} PONGs" if pongs < players * seconds / 30 * 0.8 else ""
    return {"percent": fault or 100 * used / seconds}


def _marks(results: Results) -> list[Mark]:
    label = f"{POSTGRES}: {CREATES}"
    creates, holding = results.get(label, {}), results.get(f"{SQLITE}: {HOLDING}", {})
    return [
        *_times(results),
        *at_least(f"PostgreSQL: at least {RATE} creates/s", creates.get("rate"), RATE),
        *at_most(f"PostgreSQL: p99 at most 100 ms at {RATE} creates/s", creates.get("p99"), 100, " ms"),
        *at_most(f"{HELD:,} bound sessions: at most 5 % of a core", holding.get("percent"), 5, " %"),
    ]


def _times(results: Results) -> list[Mark]:
    """The p99 of creates that a webhook is told of, by that of the others."""
    return [
        mark
        for stack in (POSTGRES, SQLITE)
        for mark in at_most(
            f"{stack}: p99 of creates at most {MOST_TIMES} times as high with a webhook",
            results.get(f"{stack}: {REPORTED}", {}).get("times"),
            MOST_TIMES,
            " times",
        )
    ]


SECTION = Section(
    name="sessions",
    title=f"Session control, {CUSTOMERS:,} customers; server and load share two cores",
    columns=(
        Column("p50", f"{RATE}/s: p50 ms", 1),
        Column("p99", "p99 ms", 1),
        Column("times", "times the p99 without", 2),
        Column("steady", "CPU ms each", 2),
        Column("steady_below", "of PostgreSQL and Redis", 2),
        Column("rate", f"{IN_FLIGHT} in flight: requests/s"),
        Column("ms", "CPU ms each", 2),
        Column("below", "of PostgreSQL and Redis", 2),
        Column("percent", "% of a core", 2),
    ),
    rows=(
        *[
            Row(
                f"{stack}: {kind}",
                partial(_reported, stack) if kind == REPORTED else partial(_rest, stack, kind),
                quick=kind in (CREATES, REPORTED),
            )
            for stack in (POSTGRES, SQLITE)
            for kind in (CREATES, REPORTED, TAKEOVERS, HOT)
        ],
        Row(f"{SQLITE}: {HOLDING}", _holding, quick=False),
    ),
    note="PostgreSQL does not wait for a disk here.",
    marks=_marks,
    order=80,
)
