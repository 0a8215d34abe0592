"""A worker's lease, its probes and the ends that they bring, with players that are player-ins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings

from routing_app.core.codes import REVOKED, TAKEN_OVER, TERMINATED, UNAVAILABLE, Close
from routing_app.core.database import query
from routing_app.core.delivery.connection import Connection, Limits, new_id
from routing_app.core.leases import reach
from routing_app.core.leases.lease import Lease
from routing_app.core.models import LEASE_SECONDS, WorkerRecord
from routing_app.core.revocations.names import Carried
from routing_app.core.worker import current_worker, drop_worker
from sessions_app import revocations, service, sweep
from sessions_app.commands import Bind, Bound, Create, Granted, LimitReached
from sessions_app.coordinator import Coordinator, current_coordinator
from sessions_app.fencing import _renewed_late
from sessions_app.models import EventKind, Limit, Publisher, Session, SessionEvent
from sessions_app.store import AccountKey
from sessions_app.sweep import reconcile
from sessions_app.wire import TERMINATE, Wanted
from tests.core.harness import PLAIN, Recorder
from tests.services.standstill import stand_still
from tests.services.waiting import until

ALICE = AccountKey("pub", "alice")
WANTED = Wanted(offer_id="film")

pytestmark = pytest.mark.django_db(transaction=True)


class FakePlayer:
    """A bound player's socket, which the hub knows."""

    def __init__(self, coordinator: Coordinator, session: UUID, answers: bool) -> None:
        worker = coordinator.worker
        self.coordinator = coordinator
        self.bound_to: UUID | None = session
        self.answers = answers
        self.asked: asyncio.Future[None] | None = None
        self.ended: list[tuple[str, Close]] = []
        self.connection = Connection(
            new_id(worker.id), "sessions", Recorder(), worker.flusher, PLAIN, limits=Limits()
        )

    def ping(self) -> asyncio.Future[None]:
        self.asked = asyncio.get_running_loop().create_future()
        if self.answers:
            self.asked.set_result(None)
        return self.asked

    def end(self, text: str, close: Close) -> None:
        self.bound_to = None
        self.ended.append((text, close))

    @property
    def carried(self) -> Carried:
        return revocations.carried(ALICE, 0.0)

    def revoke(self) -> None:
        self.end(TERMINATE, REVOKED)

    def leave(self) -> None:
        """The server closes the socket; the end of it is not written yet."""
        self.coordinator.worker.hub.drop(self.connection)
        del self.coordinator.sockets[self.connection.id]


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    """The coordinator of this process, which has its lease, and a customer that may play two streams."""
    publisher = await query(Publisher.objects.create, name="pub")
    await query(Limit.objects.create, publisher=publisher, scope="offer", maximum=2)
    coordinator = current_coordinator()
    worker = current_worker()
    worker.presence.start()
    await worker.relay.want([f"worker:{worker.id}"])
    await until(worker.presence.renew)
    yield coordinator
    await worker.stop()
    drop_worker()


@pytest.fixture
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Players have a moment to answer."""
    monkeypatch.setattr(settings, "SESSIONS_PROBE_SECONDS", 0.3)


def kinds() -> list[str]:
    return list(SessionEvent.objects.order_by("id").values_list("kind", flat=True))


async def bound(coordinator: Coordinator, answers: bool = False) -> FakePlayer:
    granted = await coordinator.submit(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    player = FakePlayer(coordinator, granted.session.id, answers)
    coordinator.sockets[player.connection.id] = player
    coordinator.worker.hub.add(player.connection)
    await coordinator.worker.hub.subscribe(player.connection, ALICE.address)
    bind = Bind(ALICE, granted.session.id, player.connection.id, coordinator.worker.id)
    assert await coordinator.submit(bind) == Bound("")
    return player


def let_pass(coordinator: Coordinator, seconds: float) -> None:
    """The lease was renewed so long ago by its clock, as when the worker slept or could not renew."""
    lease = coordinator.worker.presence.lease
    now = lease._renewal + seconds
    lease.clock = lambda: now


async def test_a_command_is_not_given_up_after_a_standstill(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = threading.Event()
    before = coordinator.writes.submit(written.wait)
    creating = asyncio.ensure_future(coordinator.submit(Create(ALICE, WANTED)))
    await stand_still(monkeypatch)
    written.set()

    assert isinstance(await creating, Granted)
    assert await before


LIFE = LEASE_SECONDS + settings.SESSIONS_GRACE_SECONDS


async def test_players_are_stopped_before_lease_and_grace_are_over(coordinator: Coordinator) -> None:
    player = await bound(coordinator)
    let_pass(coordinator, LIFE - 10)
    coordinator.stop_if_lease_lapsed()
    assert player.ended == []
    let_pass(coordinator, LIFE - 1)
    coordinator.stop_if_lease_lapsed()

    assert player.ended == [(TERMINATE, UNAVAILABLE)]


async def test_the_slot_of_a_player_that_was_stopped_is_free_when_the_database_is_back(
    coordinator: Coordinator,
) -> None:
    """Its player was told to stop, and does not come back within a grace."""
    player = await bound(coordinator)
    coordinator.stop_all()
    player.leave()
    await until(coordinator.worker.presence.renew)
    await reconcile(coordinator)

    assert await query(Session.objects.count) == 0
    assert (await query(kinds))[-1] == EventKind.EXPIRED


async def test_a_player_that_is_stopped_during_a_look_at_the_rows_has_its_slot_freed_by_the_next(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was bound behind the read, so the rows of that do not have it."""
    look = sweep._bound_to
    bound_since: list[FakePlayer] = []

    async def look_early(function: Any, *arguments: Any) -> Any:
        rows = await query(function, *arguments)
        if function is look:
            bound_since.append(await bound(coordinator))
            coordinator.stop_all()
        return rows

    with monkeypatch.context() as patches:
        patches.setattr(sweep, "query", look_early)
        await reconcile(coordinator)
    [player] = bound_since
    player.leave()
    await until(coordinator.worker.presence.renew)
    await reconcile(coordinator)

    assert await query(Session.objects.count) == 0
    assert (await query(kinds))[-1] == EventKind.EXPIRED
    assert coordinator.stopped == {player.connection.id}
    await reconcile(coordinator)
    assert coordinator.stopped == set()


@pytest.mark.parametrize("told", [True, False])
async def test_a_player_without_a_row_hears_why_where_a_message_says_so_and_else_stops(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """The message comes behind the look that has found the row gone."""
    player, spared = await bound(coordinator), await bound(coordinator)
    session = player.bound_to
    assert session is not None
    await query(lambda: Session.objects.filter(pk=session).delete())
    pause, why = asyncio.sleep, '{"action":"TAKE_OVER","sessionName":"TV"}'

    async def comes_meanwhile(seconds: float) -> None:
        if seconds == sweep.MOMENT_SECONDS and told:
            player.end(why, TAKEN_OVER)
        await pause(0)

    with monkeypatch.context() as patches:
        patches.setattr(asyncio, "sleep", comes_meanwhile)
        await reconcile(coordinator)

    assert player.ended == [(why, TAKEN_OVER) if told else (TERMINATE, TERMINATED)]
    assert spared.ended == []


async def test_a_machine_whose_clock_stood_still_learns_from_the_database(coordinator: Coordinator) -> None:
    player = await bound(coordinator)
    _renewed_late(coordinator, timedelta(seconds=LIFE - 1))
    assert player.ended == []
    _renewed_late(coordinator, timedelta(seconds=LIFE))

    assert player.ended == [(TERMINATE, UNAVAILABLE)]


async def test_a_worker_that_was_away_renews_before_it_binds(coordinator: Coordinator) -> None:
    granted = await coordinator.submit(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    past = (await query(reach.read)).witnessed - timedelta(seconds=LIFE)
    await query(WorkerRecord.objects.update, leased_at=past)

    assert await service.bind(ALICE, granted.session.id, "c", coordinator.worker.id) == Bound("")


async def test_a_worker_that_does_not_know_yet_that_it_has_its_lease_asks_before_it_binds(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A player that comes with the start was closed as if the database were out."""
    granted = await coordinator.submit(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    monkeypatch.setattr(coordinator.worker.presence, "lease", Lease())
    assert not coordinator.lease_holds()

    assert await service.bind(ALICE, granted.session.id, "c", coordinator.worker.id) == Bound("")
    assert coordinator.lease_holds()


async def test_a_worker_that_cannot_renew_binds_nothing(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = await coordinator.submit(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    presence = coordinator.worker.presence

    async def fail() -> bool:
        return False

    # First, so that none which is due meanwhile brings the lease back; one that is on its way is waited for.
    monkeypatch.setattr(presence, "renew", fail)
    if presence._renewing is not None:
        await presence._renewing
    past = (await query(reach.read)).witnessed - timedelta(seconds=LIFE)
    await query(WorkerRecord.objects.update, leased_at=past)

    with pytest.raises(service.LeaseLapsed):
        await service.bind(ALICE, granted.session.id, "c", coordinator.worker.id)


async def test_a_player_whose_socket_ended_while_it_was_asked_is_not_silent(
    coordinator: Coordinator, quick_probe: None
) -> None:
    """The server has closed it, the end is not written yet, and the player is about to be back."""
    closed, living = await bound(coordinator), await bound(coordinator, answers=True)
    asked = asyncio.ensure_future(service.create(ALICE, WANTED))
    await until(lambda: closed.asked is not None)
    closed.leave()

    assert isinstance(await asked, LimitReached)
    assert living.ended == []
    back = Bind(ALICE, session_of(closed), "back", coordinator.worker.id)
    assert await coordinator.submit(back) == Bound(closed.connection.id)


async def test_a_player_that_is_silent_all_the_time_loses_its_slot(
    coordinator: Coordinator, quick_probe: None
) -> None:
    silent, living = await bound(coordinator), await bound(coordinator, answers=True)

    assert isinstance(await service.create(ALICE, WANTED), Granted)
    await until(lambda: silent.ended)
    assert living.ended == []


async def test_a_player_of_a_worker_that_says_nothing_is_not_silent(
    coordinator: Coordinator, quick_probe: None
) -> None:
    """That worker may be out, or cut off from the channel layer; its lease decides about its players."""
    elsewhere = WorkerRecord(id="0" * 16, host="h", pid=1, leased_at=(await query(reach.read)).witnessed)
    await query(elsewhere.save)
    unknown = [new_id(elsewhere.id), new_id(elsewhere.id)]
    for connection in unknown:
        granted = await coordinator.submit(Create(ALICE, WANTED))
        assert isinstance(granted, Granted)
        assert await coordinator.submit(Bind(ALICE, granted.session.id, connection, elsewhere.id)) == Bound(
            ""
        )

    assert isinstance(await service.create(ALICE, WANTED), LimitReached)
    assert await coordinator.probe(unknown) == set()


async def test_a_probe_ends_when_nobody_owes_an_answer(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for SESSIONS_PROBE_SECONDS, which here no test would live to see."""
    monkeypatch.setattr(settings, "SESSIONS_PROBE_SECONDS", 3600)
    players = [await bound(coordinator, answers=True) for _ in range(2)]

    assert await coordinator.probe([player.connection.id for player in players]) == set()


def session_of(player: FakePlayer) -> UUID:
    assert player.bound_to is not None
    return player.bound_to
