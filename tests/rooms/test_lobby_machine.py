"""Any interleaving of coming, going, outages and lost news, on two workers: everybody ends with the truth."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.db import OperationalError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from routing_app.core.leases import rows as presence_rows
from routing_app.core.models import WorkerRecord
from routing_app.rooms import lobbies as lobbies_module
from routing_app.rooms import lobby_changes
from routing_app.rooms.models import Room
from tests.core.harness import replaced, scaled
from tests.rooms.lobbies import Peer, look, rows, settle, workers
from tests.services.waiting import until


class Lobby(RuleBasedStateMachine):
    """Clients of two workers that come, leave, come again and vanish; each takes one step after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.exits = AsyncExitStack()
        self.out = False
        self.mute = False
        self.peers: list[Peer] = []
        self.steps: dict[Peer, asyncio.Task[Any]] = {}
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self.running = await self.exits.enter_async_context(workers(2))
        for module, name in ((lobby_changes, "make"), (presence_rows, "delete"), (presence_rows, "insert")):
            self._replace(module, name, self._unless_out(getattr(module, name)))
        for worker in self.running:
            self._replace(worker.hub, "publish_soon", self._unless_mute(worker.hub.publish_soon))
        self._replace(lobbies_module, "HOLD_SECONDS", 0.02)

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        self.exits.enter_context(replaced(owner, name, value))

    def _unless_out(self, write: Any) -> Any:
        def attempt(items: Any) -> Any:
            if self.out:
                raise OperationalError("the database is out")
            return write(items)

        return attempt

    def _unless_mute(self, publish: Any) -> Any:
        return lambda publication: 0 if self.mute else publish(publication)

    def _step(self, peer: Peer, step: Any) -> None:
        """Begin what a client does next, once it has done what it began before."""
        before = self.steps.get(peer)

        async def take() -> None:
            if before is not None:
                await before
            if peer.inside or before is None or peer.connection.state.value == "open":
                await step()

        async def begin() -> None:
            self.steps[peer] = asyncio.ensure_future(take())

        self.loop.run_until_complete(begin())

    @rule(where=st.integers(0, 1))
    def enter(self, where):
        async def make() -> None:
            self.peers.append(Peer(self.running[where]))

        self.loop.run_until_complete(make())
        self._step(self.peers[-1], self.peers[-1].enter)

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def leave_and_join(self, data):
        peer = data.draw(st.sampled_from(self.peers))
        self._step(peer, lambda: peer.send("LEAVE", "L"))
        self._step(peer, lambda: peer.send("JOIN", "L"))

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def vanish(self, data):
        peer = data.draw(st.sampled_from(self.peers))

        async def go() -> None:
            peer.go()

        self.loop.run_until_complete(go())

    @rule(out=st.booleans())
    def the_database_fails(self, out):
        self.out = out

    @rule(mute=st.booleans())
    def news_are_lost(self, mute):
        self.mute = mute

    @rule(where=st.integers(0, 1))
    def one_looks(self, where):
        self.loop.run_until_complete(look([self.running[where]]))

    @rule(turns=st.sampled_from([0, 1, 5, 50]))
    def time_passes(self, turns):
        async def wait() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    @rule()
    def all_is_done(self):
        self.loop.run_until_complete(settle(self.running))

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self._end())
        finally:
            self.loop.run_until_complete(self.exits.aclose())
            self.loop.close()
            Room.objects.all().delete()
            WorkerRecord.objects.all().delete()

    async def _end(self) -> None:
        self.out = self.mute = False
        await asyncio.gather(*self.steps.values())
        for peer in self.peers:
            if peer.connection.state.value == "closing":  # the server has sent it away
                peer.go()
        for worker in self.running:
            await worker.presence.renew()
        for _ in range(3):
            await look(self.running)
        there = set(await rows())
        inside = [peer for peer in self.peers if peer.inside]
        assert there == {peer.id for peer in inside}
        # A member that has joined a second time was told no PEERS: it knows what came since.
        told = [peer for peer in inside if peer.received.count(("JOINED", peer.id)) == 1]
        await until(lambda: all(peer.replayed() == there for peer in told))


@pytest.mark.django_db(transaction=True)
def test_everybody_ends_with_the_truth():
    run_state_machine_as_test(Lobby, settings=settings(max_examples=scaled(25), stateful_step_count=25))
