"""One run: clients act, faults happen, all is healed, and the history is checked."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from typing import Any, Final

from faults.checkers import Times, Violation, check
from faults.history import NEMESIS, Event
from faults.nemeses import NEMESES, Nemesis
from faults.workloads import WORKLOADS
from faults.world import Workload, World, ended, tasks_of
from routing_app.core.codes import Loss
from tests.services.waiting import until

READY_SECONDS: Final = 60.0
"""Longest time until the servers are ready again after the last fault."""
LOG_CHARACTERS: Final = 6000
"""Of the log of each server when a run fails."""
REST_SECONDS: Final = (0.5, 4.0)
"""Between two faults of one chain."""
UNTOLD: Final = (Loss.LAYER_DOWN, Loss.STORE_DOWN, Loss.WORKER_DIED, Loss.UNENCODABLE)
"""Losses that not every receiver can be told of. All others excuse nothing: each receiver has to be told."""
LOST: Final = tuple(f'switchboard_lost_total{{reason="{reason}"}}' for reason in UNTOLD)
LOOK_SECONDS: Final = 1.0
"""Between two looks at the counters."""
CHAINS: Final = 2
"""Faults at a time."""
LONGEST: Final = 5
"""So many times its seconds a run may take where clients have not done all that they shall."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run was, and what is wrong with it."""

    seed: int
    seconds: float
    operations: Counter[str]
    faults: Counter[str]
    violations: Sequence[Violation]
    events: Sequence[Event]


class AttackFailed(Exception):
    """A run did not come to its end; says under which circumstances."""


class Attack:
    """The run of one seed."""

    def __init__(
        self, world: World, seed: int, times: Times, workloads: Collection[type[Workload]] = WORKLOADS
    ) -> None:
        self._world, self._seed, self._times = world, seed, times
        self._workloads = [kind(world) for kind in workloads]
        self._targets: set[str] = set()
        self._numbers = 0

    async def run(
        self, seconds: float, kinds: Sequence[type[Nemesis]] = NEMESES, least: Set[str] = frozenset()
    ) -> Outcome:
        """Attack for so long, wait until all is quiet, and check.

        On a slow machine it goes on until the history has events of each kind in `least`. Raises
        AttackFailed when the cluster does not come back, and when a fault cannot be healed.
        """
        try:
            await self._run(seconds, kinds, least)
        except Exception as error:
            raise AttackFailed(self._circumstances(error)) from error
        return self._outcome()

    async def _run(self, seconds: float, kinds: Sequence[type[Nemesis]], least: Set[str]) -> None:
        for workload in self._workloads:
            await workload.begin()
        self._world.is_disturbed = True
        playing = tasks_of(workload.play() for workload in self._workloads)
        dice = [self._world.dice(f"chain {number}") for number in range(CHAINS if kinds else 0)]
        possible = [one for one in kinds if one.is_possible(self._world)]
        disturbing = tasks_of(self._disturb(one, possible) for one in dice)
        counting = asyncio.ensure_future(self._watch_losses())
        await self._play([*playing, *disturbing], seconds, least)
        self._world.stop.set()
        await ended(disturbing)
        await ended(playing)
        await self._until_ready()
        await ended(tasks_of(workload.settle() for workload in self._workloads))
        await ended(tasks_of(workload.confirm() for workload in self._workloads))
        self._world.history.note(NEMESIS, "quiet")
        self._world.over.set()
        await ended([counting])
        for workload in self._workloads:
            await workload.leave()

    async def _play(self, tasks: list[asyncio.Task[Any]], seconds: float, least: Set[str]) -> None:
        """Wait for so long and for `least`, or until a task has failed."""
        end = self._world.history.now + LONGEST * seconds
        _, acting = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        while acting and not any(one.done() and one.exception() for one in tasks):
            if least <= {one.what for one in self._world.history} or self._world.history.now > end:
                break
            _, acting = await asyncio.wait(acting, timeout=1, return_when=asyncio.FIRST_EXCEPTION)

    async def _disturb(self, dice: random.Random, kinds: Sequence[type[Nemesis]]) -> None:
        while await self._world.pause(dice.uniform(*REST_SECONDS)):
            nemesis = dice.choice(kinds)(self._world, dice)
            if nemesis.target in self._targets:
                continue
            self._targets.add(nemesis.target)
            try:
                await self._do(nemesis, dice)
            finally:
                self._targets.discard(nemesis.target)

    async def _do(self, nemesis: Nemesis, dice: random.Random) -> None:
        self._numbers += 1
        number = self._numbers
        history = self._world.history
        history.note(NEMESIS, "fault", name=nemesis.name, number=number)
        try:
            detail = await asyncio.to_thread(nemesis.begin)
            history.note(NEMESIS, "done", number=number, detail=detail)
            await self._world.pause(dice.uniform(*nemesis.seconds))
        finally:
            await asyncio.to_thread(nemesis.heal)
            history.note(NEMESIS, "healed", number=number)

    async def _watch_losses(self) -> None:
        """Note when a server has counted lost messages of which receivers may not be told."""
        counts = dict.fromkeys(self._world.nodes, 0.0)
        while not self._world.over.is_set():
            for number, node in enumerate(self._world.nodes):
                with suppress(OSError, HTTPException, ValueError):
                    count = await asyncio.to_thread(node.metric, *LOST)
                    if count > counts[node]:
                        self._world.history.note(f"server {number}", "lost", count=count - counts[node])
                    counts[node] = count  # less after a restart
            await asyncio.sleep(LOOK_SECONDS)

    async def _until_ready(self) -> None:
        for node in self._world.nodes:
            await until(partial(asyncio.to_thread, node.is_ready), READY_SECONDS)

    def _circumstances(self, error: Exception) -> str:
        """The faults, and what each server says of itself."""
        faults = [f"{one.at:.1f} {one.what} {one.data}" for one in self._world.history if one.who == NEMESIS]
        servers = [
            f"server {number}: {node.readiness()}\n{node.server.log_text()[-LOG_CHARACTERS:]}"
            for number, node in enumerate(self._world.nodes)
        ]
        return "\n".join([f"seed {self._seed}: {error!r}", *faults, *servers])

    def _outcome(self) -> Outcome:
        events = list(self._world.history)
        return Outcome(
            self._seed,
            events[-1].at,
            Counter(one.what for one in events if one.who != NEMESIS),
            Counter(one["name"] for one in events if one.what == "fault"),
            check(events, self._times),
            events,
        )
