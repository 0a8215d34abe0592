"""What one process does about its lease and about probes, with players that are stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from django.conf import settings

from routing_app.core.codes import UNAVAILABLE, Close
from routing_app.core.database import query
from routing_app.core.delivery.connection import Connection, Limits, new_id
from routing_app.core.leases import reach
from routing_app.core.models import LEASE_SECONDS, Worker
from routing_app.core.worker import current_worker, drop_worker
from sessions_app import service
from sessions_app.commands import Bind, Bound, Create, Granted, LimitReached
from sessions_app.coordinator import Coordinator, current_board
from sessions_app.fencing import _overslept
from sessions_app.models import Kind, Limit, Publisher, Session, SessionEvent
from sessions_app.store import AccountKey
from sessions_app.sweep import reconcile
from sessions_app.wire import TERMINATE, Wanted
from tests.core.harness import PLAIN, Recorder
from tests.services.waiting import until

ALICE = AccountKey("pub", "alice")
WANTED = Wanted(offer_id="film")

pytestmark = pytest.mark.django_db(transaction=True)


class Stand:
    """A bound player's socket, which the hub knows."""

    def __init__(self, board: Coordinator, session: UUID, answers: bool) -> None:
        worker = board.worker
        self.board = board
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

    def leave(self) -> None:
        """The server closes the socket; the end of it is not written yet."""
        self.board.worker.hub.drop(self.connection)
        del self.board.sockets[self.connection.id]


@pytest.fixture
async def board() -> AsyncIterator[Coordinator]:
    """The board of this process, which has its lease, and a customer that may play two streams."""
    publisher = await query(Publisher.objects.create, name="pub")
    await query(Limit.objects.create, publisher=publisher, scope="offer", maximum=2)
    board = current_board()
    worker = current_worker()
    worker.presence.start()
    await worker.relay.want([f"worker:{worker.id}"])
    assert await worker.presence.renew()
    yield board
    await worker.stop()
    drop_worker()


@pytest.fixture
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Players have a moment to answer."""
    monkeypatch.setattr(settings, "SESSIONS_PROBE_SECONDS", 0.3)


def kinds() -> list[str]:
    return list(SessionEvent.objects.order_by("id").values_list("kind", flat=True))


async def bound(board: Coordinator, answers: bool = False) -> Stand:
    granted = await board.run(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    stand = Stand(board, granted.session.id, answers)
    board.sockets[stand.connection.id] = stand
    board.worker.hub.add(stand.connection)
    await board.worker.hub.subscribe(stand.connection, ALICE.address)
    bind = Bind(ALICE, granted.session.id, stand.connection.id, board.worker.id)
    assert await board.run(bind) == Bound("")
    return stand


def let_pass(board: Coordinator, seconds: float) -> None:
    """The clock of the lease goes on so far, as when the worker slept or could not renew."""
    lease = board.worker.presence.lease
    before = lease.clock
    lease.clock = lambda: before() + seconds


LIFE = LEASE_SECONDS + settings.SESSIONS_GRACE_SECONDS


async def test_players_are_stopped_before_lease_and_grace_are_over(board: Coordinator) -> None:
    stand = await bound(board)
    let_pass(board, LIFE - 10)
    board.stop_unless_vouched()
    assert stand.ended == []
    let_pass(board, 9)
    board.stop_unless_vouched()

    assert stand.ended == [(TERMINATE, UNAVAILABLE)]


async def test_the_slot_of_a_player_that_was_stopped_is_free_when_the_database_is_back(
    board: Coordinator,
) -> None:
    """Its player was told to stop, and does not come back within a grace."""
    stand = await bound(board)
    board.stop_all()
    stand.leave()
    assert await board.worker.presence.renew()
    await reconcile(board)

    assert await query(Session.objects.count) == 0
    assert (await query(kinds))[-1] == Kind.EXPIRED


async def test_a_machine_whose_clock_stood_still_learns_from_the_database(board: Coordinator) -> None:
    stand = await bound(board)
    _overslept(board, timedelta(seconds=LIFE - 1))
    assert stand.ended == []
    _overslept(board, timedelta(seconds=LIFE))

    assert stand.ended == [(TERMINATE, UNAVAILABLE)]


async def test_a_worker_that_was_away_renews_before_it_binds(board: Coordinator) -> None:
    granted = await board.run(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    past = (await query(reach.read)).witnessed - timedelta(seconds=LIFE)
    await query(Worker.objects.update, leased_at=past)

    assert await service.bind(ALICE, granted.session.id, "c", board.worker.id) == Bound("")


async def test_a_worker_that_cannot_renew_binds_nothing(
    board: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = await board.run(Create(ALICE, WANTED))
    assert isinstance(granted, Granted)
    past = (await query(reach.read)).witnessed - timedelta(seconds=LIFE)
    await query(Worker.objects.update, leased_at=past)

    async def fail() -> bool:
        return False

    monkeypatch.setattr(board.worker.presence, "renew", fail)
    with pytest.raises(service.LeaseLapsed):
        await service.bind(ALICE, granted.session.id, "c", board.worker.id)


async def test_a_player_whose_socket_ended_while_it_was_asked_is_not_silent(
    board: Coordinator, quick_probe: None
) -> None:
    """The server threw it out, the end is not written yet, and the player is about to be back."""
    thrown_out, living = await bound(board), await bound(board, answers=True)
    asked = asyncio.ensure_future(service.create(ALICE, WANTED))
    await until(lambda: thrown_out.asked is not None)
    thrown_out.leave()

    assert isinstance(await asked, LimitReached)
    assert living.ended == []
    back = Bind(ALICE, session_of(thrown_out), "back", board.worker.id)
    assert await board.run(back) == Bound(thrown_out.connection.id)


async def test_a_player_that_is_silent_all_the_time_loses_its_slot(
    board: Coordinator, quick_probe: None
) -> None:
    silent, living = await bound(board), await bound(board, answers=True)

    assert isinstance(await service.create(ALICE, WANTED), Granted)
    await until(lambda: silent.ended)
    assert living.ended == []


async def test_a_player_of_a_worker_that_says_nothing_is_not_silent(
    board: Coordinator, quick_probe: None
) -> None:
    """That worker may be out, or cut off from the channel layer; its lease decides about its players."""
    elsewhere = Worker(id="0" * 16, host="h", pid=1, leased_at=(await query(reach.read)).witnessed)
    await query(elsewhere.save)
    unknown = [new_id(elsewhere.id), new_id(elsewhere.id)]
    for connection in unknown:
        granted = await board.run(Create(ALICE, WANTED))
        assert isinstance(granted, Granted)
        assert await board.run(Bind(ALICE, granted.session.id, connection, elsewhere.id)) == Bound("")

    assert isinstance(await service.create(ALICE, WANTED), LimitReached)
    assert await board.probe(unknown) == set()


async def test_a_probe_ends_when_nobody_owes_an_answer(
    board: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for SESSIONS_PROBE_SECONDS, which here no test would live to see."""
    monkeypatch.setattr(settings, "SESSIONS_PROBE_SECONDS", 3600)
    players = [await bound(board, answers=True) for _ in range(2)]

    assert await board.probe([player.connection.id for player in players]) == set()


def session_of(stand: Stand) -> UUID:
    assert stand.bound_to is not None
    return stand.bound_to
