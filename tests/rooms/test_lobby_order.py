"""One order of PEERS, JOINED and LEFT for everybody in a lobby, whatever the database does in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.db import OperationalError

from routing_app.core.codes import UNAVAILABLE
from routing_app.core.database import query
from routing_app.core.leases import rows as presence_rows
from routing_app.core.models import ConnectionRecord
from routing_app.core.worker import Worker
from routing_app.rooms import lobbies as lobbies_module
from routing_app.rooms import lobby_changes
from routing_app.rooms.lobbies import lobbies_of
from routing_app.rooms.lobby_changes import ChangeKind
from tests.rooms.lobbies import Peer, look, rows, settle, workers
from tests.services.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that is missing is not waited for as long."""
    monkeypatch.setattr(lobbies_module, "HOLD_SECONDS", 0.05)


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
async def running(request: pytest.FixtureRequest) -> AsyncIterator[list[Worker]]:
    async with workers(request.param) as running:
        yield running


class Database:
    """The writes of lobbies and of connections, with a switch: while `out` it fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out = False
        for module, name in ((lobby_changes, "make"), (presence_rows, "delete")):
            monkeypatch.setattr(module, name, self._switched(getattr(module, name)))

    def _switched(self, write: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def attempt(items: Any) -> Any:
            if self.out:
                raise OperationalError("the database is out")
            return write(items)

        return attempt


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    return Database(monkeypatch)


async def entered(*on: Worker) -> list[Peer]:
    """Members that have come one after the other."""
    peers = []
    for worker in on:
        peers.append(Peer(worker))
        await peers[-1].enter()
    return peers


async def true_for_all(running: list[Worker], peers: list[Peer]) -> None:
    """Each member was told the same as the rows have."""
    await settle(running)
    there = set(await rows())
    assert there == {peer.id for peer in peers if peer.inside}
    await until(lambda: all(peer.replayed() == there for peer in peers if peer.inside))


async def test_a_newcomer_receives_that_a_member_left_whose_row_is_not_deleted_yet(
    running: list[Worker], database: Database
) -> None:
    stays, leaver = await entered(running[0], running[0])
    database.out = True
    leaver.go()
    await settle(running)
    database.out = False
    [late] = await entered(running[-1])
    assert leaver.id in late.replayed()

    await look(running)

    await true_for_all(running, [stays, late])
    for peer in (stays, late):
        assert [event for event in peer.received if event == ("LEFT", leaver.id)] == [("LEFT", leaver.id)]


async def test_left_follows_the_commit(running: list[Worker], database: Database) -> None:
    """Until then the leaver counts as there, in what is told as in the rows."""
    stays, leaver = await entered(running[-1], running[0])
    before = list(stays.received)
    database.out = True
    leaver.go()
    await settle(running)
    assert stays.received == before

    database.out = False
    await look(running)

    await true_for_all(running, [stays])


async def test_a_row_that_went_with_its_connection_is_no_ghost(running: list[Worker]) -> None:
    """The connection's own row may be deleted before LEAVE is done, and takes the membership with it."""
    stays, leaver = await entered(running[-1], running[0])
    await query(ConnectionRecord.objects.filter(id=leaver.id).delete)

    leaver.go()

    await true_for_all(running, [stays])


async def test_a_change_whose_worker_died_before_it_told_is_found(
    running: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, leaver = await entered(running[-1], running[0])
    with monkeypatch.context() as silence:
        silence.setattr(lobbies_of(running[0])._worker.hub, "publish_soon", lambda publication: 0)
        leaver.go()
        await settle(running)
    assert ("LEFT", leaver.id) not in stays.received

    await look(running)

    await true_for_all(running, [stays])


async def test_a_change_that_is_missing_holds_up_the_next_only_for_a_moment(
    running: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, leaver = await entered(running[-1], running[0])
    with monkeypatch.context() as silence:
        silence.setattr(lobbies_of(running[0])._worker.hub, "publish_soon", lambda publication: 0)
        leaver.go()
        await settle(running)

    [late] = await entered(running[0])

    await true_for_all(running, [stays, late])
    assert stays.received[-2:] == [("LEFT", leaver.id), ("JOINED", late.id)]


async def test_rows_that_vanish_without_a_change_are_missed_by_the_second_look(running: list[Worker]) -> None:
    """A sweep deletes all rows of a worker that it thinks dead."""
    stays, gone = await entered(running[-1], running[0])
    await query(ConnectionRecord.objects.filter(id=gone.id).delete)
    gone._member.rooms.clear()

    await look(running)
    await look(running)
    await settle(running)

    await until(lambda: stays.replayed() == {stays.id})


async def test_a_member_that_was_taken_for_dead_comes_back(running: list[Worker]) -> None:
    stays, alive = await entered(running[-1], running[0])
    entry = next(iter(alive._member.rooms.values()))

    await lobbies_of(running[-1]).submit(ChangeKind.LEAVE, entry)

    await until(lambda: stays.received[-2:] == [("LEFT", alive.id), ("JOINED", alive.id)])
    await true_for_all(running, [stays, alive])


async def test_join_while_the_database_is_out_ends_the_connection(
    running: list[Worker], database: Database
) -> None:
    stays, back = await entered(running[0], running[-1])
    assert await back.send("LEAVE", "L")
    database.out = True

    assert not await back.send("JOIN", "L")

    assert back.connection.writer.closed == [UNAVAILABLE]  # type: ignore[attr-defined]
    database.out = False
    back.go()
    await true_for_all(running, [stays])


async def test_a_join_that_was_committed_although_it_failed_is_taken_back(
    running: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection to the database broke during COMMIT."""
    [stays] = await entered(running[-1])
    writes = lobbies_of(running[0]).writes
    submit = writes.submit_item

    def unsure(run: Callable[[list[Any]], Any], item: Any) -> asyncio.Future[Any]:
        failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        submit(run, item).add_done_callback(lambda done: failed.set_exception(OperationalError("broke")))
        return failed

    with monkeypatch.context() as broken:
        broken.setattr(writes, "submit_item", unsure)
        unlucky = Peer(running[0])
        await unlucky.enter()
        await settle(running)
    assert unlucky.connection.writer.closed == [UNAVAILABLE]  # type: ignore[attr-defined]
    assert unlucky.received == []

    await look(running)
    await look(running)

    await true_for_all(running, [stays])


async def test_a_join_whose_connection_has_no_row_writes_it(
    running: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That row failed; the ack says all the same that everybody can see the membership."""
    stays, late = Peer(running[-1]), Peer(running[0])
    await stays.enter()

    def fail(arrivals: Any) -> None:
        raise OperationalError("the database is out")

    with monkeypatch.context() as out:
        out.setattr(presence_rows, "insert", fail)
        running[0].hub.add(late.connection)
        late._member.recorded = running[0].presence.arrive(late.connection)
        await asyncio.wait([late._member.recorded])

    assert await late.send("JOIN", "L")

    assert set(await rows()) == {stays.id, late.id}
    await settle(running)
    await until(lambda: stays.replayed() == {stays.id, late.id})


async def test_without_a_row_of_its_connection_join_is_not_acked(
    running: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Peer(running[0])

    def fail(arrivals: Any) -> None:
        raise OperationalError("the database is out")

    monkeypatch.setattr(presence_rows, "insert", fail)
    running[0].hub.add(late.connection)
    late._member.recorded = running[0].presence.arrive(late.connection)

    assert not await late.send("JOIN", "L")

    assert late.connection.writer.closed == [UNAVAILABLE]  # type: ignore[attr-defined]
    assert await rows() == []
    late.go()


@pytest.mark.parametrize("seed", range(3))
async def test_coming_and_going_at_once_leaves_everybody_with_the_truth(
    running: list[Worker], seed: int
) -> None:
    chance = random.Random(seed)
    stays = await entered(*running)
    crowd: list[Peer] = []

    async def come_and_go(worker: Worker) -> None:
        peer = Peer(worker)
        crowd.append(peer)
        entering = asyncio.ensure_future(peer.enter())
        if chance.random() < 0.7:
            await entering
        for _ in range(chance.choice([0, 0, 3, 30])):
            await asyncio.sleep(0)
        if entering.done() and chance.random() < 0.3:
            await peer.send("LEAVE", "L")
            await peer.send("JOIN", "L")
        if chance.random() < 0.7:
            peer.go()
        await entering

    await asyncio.gather(*(come_and_go(chance.choice(running)) for _ in range(40)))

    # A member that has joined a second time was told no PEERS: it knows only what came since.
    whole = [peer for peer in stays + crowd if [event for event, _ in peer.received].count("PEERS") == 1]
    await settle(running)
    there = set(await rows())
    assert there == {peer.id for peer in stays + crowd if peer.inside}
    await until(lambda: all(p.replayed() == there for p in whole if p.inside and not rejoined(p)))
    # Somebody who came and went leaves both as before: the last news may be on its way to one of them.
    await until(lambda: orders_agree([peer.received for peer in stays]))


def rejoined(peer: Peer) -> bool:
    return peer.received.count(("JOINED", peer.id)) > 1


def orders_agree(stories: list[list[tuple[str, Any]]]) -> bool:
    """True when members that were there all the time received the same from when the last had come."""
    last = stories[-1]
    news = last[[event for event, _ in last].index("PEERS") + 1 :]
    return all(story[len(story) - len(news) :] == news for story in stories)
