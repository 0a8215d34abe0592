"""Any subscribes and leaves on two processes: the last count is true, and the changes give the members."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from routing_app.core.delivery.connection import Connection
from routing_app.core.presence_notices.messages import REPORT
from tests.core.harness import scaled
from tests.core.layers import Cluster, LaggingLayer
from tests.presence_notices.harness import (
    EVERYTHING,
    A,
    B,
    Listing,
    Process,
    Time,
    know_each_other,
    told,
    turns,
)
from tests.services.waiting import until

pytestmark = pytest.mark.once

which = st.integers(0, 1)
addresses = st.sampled_from([A, A, B])
CLIENTS = 3


class Watched:
    """A subscriber with notices, and those who were there when it began."""

    def __init__(self, connection: Connection, address: str, there: set[Connection], before: int) -> None:
        self.connection, self.address, self.there = connection, address, there
        self.before = before
        """Notices that the connection had got until then: it may have watched before."""


class Notices(RuleBasedStateMachine):
    """Two processes with some clients each; some watch. Messages lag, and reports get lost."""

    kind = "lagging"
    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.time = Time()
        self.watching: list[Watched] = []
        self.losing = 0
        self._run(self._begin())

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    async def _begin(self) -> None:
        self.cluster = Cluster(self.kind, self.url)
        self.processes = [Process(self.cluster.node(), self.time) for _ in range(2)]
        await know_each_other(self.processes)
        self.clients = [[one.connect() for _ in range(CLIENTS)] for one in self.processes]
        for process in self.processes:
            self._make_lossy(process)

    def _make_lossy(self, process: Process) -> None:
        hand_over = process.node.hub.hand_over

        def lossy(publication: Any) -> None:
            if publication.event == REPORT and self.losing > 0:
                self.losing -= 1
            else:
                hand_over(publication)

        process.node.hub.hand_over = lossy  # type: ignore[method-assign]

    def there(self, address: str) -> set[Connection]:
        """The truth."""
        return {one for process in self.processes for one in process.node.hub.members(address)}

    @rule(where=which, who=st.integers(0, CLIENTS - 1), address=addresses)
    def subscribe(self, where, who, address):
        self._run(self.processes[where].node.hub.subscribe(self.clients[where][who], address))

    @rule(where=which, who=st.integers(0, CLIENTS - 1), address=addresses)
    def unsubscribe(self, where, who, address):
        async def do() -> None:
            self.processes[where].leave(self.clients[where][who], address)

        self._run(do())
        self._end(self.clients[where][who], address)

    @rule(where=which, who=st.integers(0, CLIENTS - 1))
    def leave_and_come_again(self, where, who):
        async def do() -> None:
            gone = self.clients[where][who]
            self.processes[where].leave(gone)
            self.clients[where][who] = self.processes[where].connect()
            for address in (A, B):
                self._end(gone, address)

        self._run(do())

    @rule(where=which, who=st.integers(0, CLIENTS - 1), address=addresses)
    def watch(self, where, who, address):
        connection = self.clients[where][who]
        if not any(one.connection is connection and one.address == address for one in self.watching):
            self._run(self._watch(self.processes[where], connection, address))

    async def _watch(self, process: Process, connection: Connection, address: str) -> None:
        await process.node.hub.subscribe(connection, address)
        watching = asyncio.ensure_future(process.notices.watch(connection, [address], lambda: EVERYTHING))
        # On a busy machine a question may be lost with its connection to Redis: the clock ends the wait.
        while not (await asyncio.wait([watching], timeout=5))[0]:
            self.time.move(1)
        before = len(await told(connection))
        watching.result()()
        self.watching.append(Watched(connection, address, self.there(address), before))

    @rule(seconds=st.sampled_from([0.05, 0.1, 0.2, 0.5]), count=st.integers(0, 30))
    def time_passes(self, seconds, count):
        async def do() -> None:
            self.time.move(seconds)
            await turns(count)

        self._run(do())

    @rule(count=st.integers(0, 2))
    def reports_get_lost(self, count):
        self.losing = count

    @rule(lag=st.integers(0, 12))
    def lag(self, lag):
        for process in self.processes:
            if isinstance(process.node.layer, LaggingLayer):
                process.node.layer.lag = lag

    def _end(self, connection: Connection, address: str) -> None:
        self.watching = [
            one for one in self.watching if one.connection is not connection or one.address != address
        ]

    def teardown(self) -> None:
        try:
            self._run(self._settle())
        finally:
            self._run(self.cluster.stop())
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
                self.loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            self.loop.close()

    async def _settle(self) -> None:
        """Once all is quiet, what a subscriber was told is the truth."""
        self.losing = 0
        for process in self.processes:
            await process.notices.look(compare=True)
        for one in self.watching:
            await until(lambda one=one: self._is_told(one))  # type: ignore[misc]

    async def _is_told(self, watched: Watched) -> bool:
        self.time.move(0.3)
        listing = Listing(watched.there)
        since = (await told(watched.connection))[watched.before :]
        notices = [one for one in since if one["address"] == watched.address]
        listing.take(notices)
        truth = {one.id for one in self.there(watched.address)}
        return listing.count == len(truth) and listing.members in (truth, None)


@pytest.mark.parametrize(("kind", "examples"), [("lagging", 100), ("redis", 10)], ids=["lagging", "redis"])
def test_what_is_told_is_the_truth_once_all_is_quiet(
    request: pytest.FixtureRequest, kind: str, examples: int
) -> None:
    url = request.getfixturevalue("redis_url") if kind == "redis" else ""
    machine = type("Machine", (Notices,), {"kind": kind, "url": url})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=scaled(examples), stateful_step_count=25)
    )
