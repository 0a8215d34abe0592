"""Members of a lobby whose events are cancelled, or fail, while they wait for the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from django.db import OperationalError

from routing_app.core.worker import Worker
from routing_app.rooms import lobby_changes, records
from routing_app.rooms.lobbies import lobbies_of
from tests.rooms.lobbies import Peer, look, rows, settle, workers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with workers(1) as [one]:
        yield one


@pytest.fixture
async def stays(worker: Worker) -> Peer:
    """A member that is told of the others."""
    one = Peer(worker)
    await one.enter()
    return one


class Writes:
    """The writes of a lobby, which say when one is asked for; while `out` they fail."""

    def __init__(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = asyncio.Event()
        self.out = False
        writes, make = lobbies_of(worker).writes, lobby_changes.make
        submit = writes.submit_item

        def noted(*arguments: Any) -> Any:
            self.asked.set()
            return submit(*arguments)

        def attempt(changes: Any) -> Any:
            if self.out:
                raise OperationalError("the database is out")
            return make(changes)

        monkeypatch.setattr(writes, "submit_item", noted)
        monkeypatch.setattr(lobby_changes, "make", attempt)


@pytest.fixture
def writes(worker: Worker, stays: Peer, monkeypatch: pytest.MonkeyPatch) -> Writes:
    """Of everybody but the member that stays."""
    return Writes(worker, monkeypatch)


async def cancelled(event: Awaitable[Any], asked: asyncio.Event) -> None:
    """Cancel an event of a client once it waits for the database."""
    asked.clear()
    task = asyncio.ensure_future(event)
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_join_is_told_although_nobody_waits_for_it(
    worker: Worker, stays: Peer, writes: Writes
) -> None:
    late = Peer(worker)

    await cancelled(late.enter(), writes.asked)
    await settle([worker])

    assert await rows() == [stays.id, late.id]
    assert ("JOINED", late.id) in stays.received
    late.go()


async def test_a_leave_that_fails_is_made_later_although_nobody_waits_for_it(
    worker: Worker, stays: Peer, writes: Writes
) -> None:
    leaver = Peer(worker)
    await leaver.enter()
    writes.out = True

    await cancelled(leaver.send("LEAVE", "L"), writes.asked)
    await settle([worker])
    writes.out = False
    await look([worker])

    assert await rows() == [stays.id]
    assert stays.received[-1] == ("LEFT", leaver.id)
    leaver.go()


@pytest.mark.parametrize("how", ["cancelled", "fails"])
async def test_nothing_is_kept_of_a_member_that_never_came(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    asked = asyncio.Event()

    def ask(*arguments: Any) -> asyncio.Future[Any]:
        """No answer, or none that anybody foresaw."""
        asked.set()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if how == "fails":
            answer.set_exception(RuntimeError("a fault of the program"))
        return answer

    monkeypatch.setattr(records, "submit", ask)
    late = Peer(worker)
    if how == "cancelled":
        await cancelled(late.enter(), asked)
    else:
        with pytest.raises(RuntimeError, match="a fault"):
            await late.enter()
    late.go()

    assert lobbies_of(worker)._replicas == {}
