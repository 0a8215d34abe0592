"""Notices over several processes: nobody is told twice or not at all, whatever is lost or ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from routing_app.core.access.masking import mask
from routing_app.core.delivery.connection import Connection
from routing_app.core.presence_notices import notices
from routing_app.core.presence_notices.messages import ANSWER, REPORT, UNWATCH
from tests.core.layers import Cluster, cluster
from tests.core.test_spread import Servers, all_servers
from tests.presence_notices.harness import NOTHING, A, B, Listing, Process, Time, ids, know_each_other, told
from tests.services.waiting import until

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one who begins to watch wait for the others as long as a busy machine may need."""
    monkeypatch.setattr(notices, "ANSWER_SECONDS", 60.0)


@pytest.fixture(params=["lagging", "redis", "several servers"])
async def processes(request: pytest.FixtureRequest) -> AsyncIterator[Cluster | Servers]:
    if request.param == "several servers":
        async with all_servers() as servers:
            yield servers
        return
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    async with cluster(request.param, url) as one:
        yield one


@pytest.fixture
async def pair(processes: Cluster | Servers) -> list[Process]:
    time = Time()
    both = [Process(processes.node(), time) for _ in range(2)]
    await know_each_other(both)
    return both


async def until_told(process: Process, watcher: Connection, enough: Callable[[list[Any]], Any]) -> list[Any]:
    """Let time pass until a watcher was told enough."""

    async def look() -> list[Any]:
        process.time.move(0.1)
        return await told(watcher)

    found: list[Any] = []

    async def is_enough() -> bool:
        found[:] = await look()
        return bool(enough(found))

    await until(is_enough)
    return found


def losing(monkeypatch: pytest.MonkeyPatch, process: Process, event: str, count: int = 1) -> list[str]:
    """Have messages of an event get lost on their way; the list names those that were."""
    lost: list[str] = []
    hand_over = process.node.hub.hand_over

    def lossy(publication: Any) -> None:
        if publication.event == event and len(lost) < count:
            lost.append(event)
        else:
            hand_over(publication)

    monkeypatch.setattr(process.node.hub, "hand_over", lossy)
    return lost


async def test_those_of_another_process_are_told_and_those_who_were_there_are_not(
    pair: list[Process],
) -> None:
    here, there = pair
    before = await there.come(A, identity="before")
    watcher = await here.watch(A)
    after = await there.come(A, identity="secret", protocol="tokens")
    [notice] = await until_told(here, watcher, len)
    assert notice["joined"] == [{"id": after.id, "protocol": "tokens", "identity": "secret"}]
    assert (notice["count"], notice["left"]) == (3, [])
    there.leave(before)
    there.leave(after)
    [_, notice] = await until_told(here, watcher, lambda found: len(found) == 2)
    assert (notice["count"], ids(notice["left"])) == (1, {before.id, after.id})


async def test_every_process_tells_its_own_subscribers_by_their_rights(pair: list[Process]) -> None:
    here, there = pair
    seeing, blind = await here.watch(A), await there.watch(A, access=NOTHING)
    await until_told(here, seeing, len)
    one = await here.come(A, identity="secret", protocol="tokens")
    seen = await until_told(here, seeing, lambda found: len(found) == 2)
    masked = await until_told(there, blind, len)
    assert seen[-1]["joined"] == [{"id": one.id, "protocol": "tokens", "identity": "secret"}]
    assert masked == [{**seen[-1], "joined": [{**seen[-1]["joined"][0], "identity": mask("secret")}]}]


async def test_one_that_begins_later_is_not_told_of_changes_that_are_on_their_way(
    pair: list[Process],
) -> None:
    here, there = pair
    first = await here.watch(A)
    before = await there.come(A)
    second = await here.watch(A)  # no time has passed, so the other process has reported nothing yet
    after = await there.come(A)
    await until_told(here, first, lambda found: ids(one for n in found for one in n["joined"]) >= {after.id})
    joined = ids(one for notice in await told(first) for one in notice["joined"])
    assert joined == {before.id, second.id, after.id}
    notices = await until_told(here, second, len)
    assert [ids(notice["joined"]) for notice in notices] == [{after.id}]
    assert notices[-1]["count"] == 4


async def test_nothing_is_reported_to_processes_where_nobody_watches(pair: list[Process]) -> None:
    here, there = pair
    watcher = await here.watch(A)
    assert there.node.hub.notices is there.notices
    here.leave(watcher)
    await until(lambda: there.node.hub.notices is None)
    await there.come(A)
    assert not there.time.waits


async def test_a_report_to_one_that_does_not_watch_any_more_is_the_last(
    pair: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    watcher = await here.watch(A)
    lost = losing(monkeypatch, here, UNWATCH)
    here.leave(watcher)
    assert lost
    await there.come(A)
    there.time.move(0.1)
    await until(lambda: there.node.hub.notices is None)


@pytest.mark.parametrize("heals_by", ["next report", "comparison", "gap"])
async def test_a_lost_report_is_found(
    pair: list[Process], monkeypatch: pytest.MonkeyPatch, heals_by: str
) -> None:
    here, there = pair
    leaver = await there.come(A)
    watcher = await here.watch(A)
    lost = losing(monkeypatch, there, REPORT)
    missed = await there.come(A)
    there.leave(leaver)
    there.time.move(0.1)
    assert lost
    listing = Listing([watcher, leaver])
    expected = {watcher.id, missed.id}
    if heals_by == "next report":
        expected.add((await there.come(A)).id)
    elif heals_by == "comparison":
        await here.notices.look(compare=True)
    else:
        watcher.on_gap = lambda: None
        here.node.hub.tell_gap()
        await here.notices.look()
    listing.take(await until_told(here, watcher, lambda found: found and found[-1]["count"] == len(expected)))
    assert listing.members == expected


async def test_an_answer_that_is_lost_holds_nobody_up_for_long(
    pair: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    before = await there.come(A)
    monkeypatch.setattr(notices, "ANSWER_SECONDS", 0.05)
    lost = losing(monkeypatch, there, ANSWER, 2)
    watcher = await here.watch(A)
    await until(lambda: len(lost) == 1)
    monkeypatch.setattr(notices, "ANSWER_SECONDS", 3600.0)
    async with asyncio.timeout(60):  # does not wait for a process that has left a question without an answer
        await here.watch(B)
    await until(lambda: len(lost) == 2)
    await here.notices.look()
    after = await here.come(A)
    await until(lambda: set(here.notices._topics[A].workers()) == {there.node.id})
    there.leave(before)
    listing = Listing([watcher, before])
    listing.take(await until_told(here, watcher, lambda found: found and found[-1]["count"] == 2))
    assert listing.members == {watcher.id, after.id}


async def test_a_process_that_ends_in_order_takes_its_subscribers_along(pair: list[Process]) -> None:
    here, there = pair
    gone = [await there.come(A) for _ in range(3)]
    watcher = await here.watch(A)
    await there.node.relay.stop()
    [notice] = await until_told(here, watcher, len)
    assert (notice["count"], ids(notice["left"])) == (1, {one.id for one in gone})


async def test_what_waits_is_reported_when_a_process_stops(pair: list[Process]) -> None:
    here, there = pair
    leaver = await there.come(A)
    watcher = await here.watch(A)
    there.leave(leaver)
    there.notices.stop()
    [notice] = await until_told(here, watcher, len)
    assert (notice["count"], ids(notice["left"])) == (1, {leaver.id})
    await there.come(A)
    assert not there.time.waits


async def test_a_silent_process_is_gone_when_its_lease_has_lapsed(
    pair: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    one = await there.come(A)
    watcher = await here.watch(A)
    alive = {there.node.id}

    async def look(query: Callable[[list[str]], set[str]], workers: list[str]) -> set[str]:
        return alive & set(workers)

    monkeypatch.setattr(notices, "query", look)
    monkeypatch.setattr(here.node.relay.peers, "is_gone", lambda worker, since: True)
    here.notices._mute.add(there.node.id)  # also where a question was left without an answer
    await here.notices.look()
    here.time.move(1)
    assert await told(watcher) == []
    alive.clear()
    await here.notices.look()
    here.time.move(1)
    [notice] = await told(watcher)
    assert (notice["count"], ids(notice["left"])) == (1, {one.id})
    assert here.notices._mute == set()
    # It was only cut off, and its next sign of life brings its subscribers back.
    [_, notice] = await until_told(here, watcher, lambda found: len(found) == 2)
    assert (notice["count"], ids(notice["joined"])) == (2, {one.id})


async def test_one_that_was_taken_for_dead_asks_the_others_again(
    pair: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    watcher = await here.watch(A)
    there.notices._gone(here.node.id)
    assert there.node.hub.notices is None
    here.notices.lapsed()
    await until(lambda: there.node.hub.notices)
    one = await there.come(A)
    [notice] = await until_told(here, watcher, len)
    assert ids(notice["joined"]) == {one.id}


async def test_a_new_process_reports_as_the_others_do(
    pair: list[Process], processes: Cluster | Servers
) -> None:
    here, _ = pair
    watcher = await here.watch(A)
    new = Process(processes.node(), here.time)
    await new.open()
    one = await new.come(A)
    [notice] = await until_told(here, watcher, len)
    assert (notice["count"], ids(notice["joined"])) == (2, {one.id})


async def test_many_of_another_process_are_counted_and_few_are_named_again(pair: list[Process]) -> None:
    here, there = pair
    crowd = [await there.come(A) for _ in range(120)]
    watcher = await here.watch(A)
    crowd.append(await there.come(A))
    [notice] = await until_told(here, watcher, len)
    assert (notice["count"], ids(notice["joined"])) == (122, {crowd[-1].id})
    for one in crowd[:118]:
        there.leave(one)
    [_, notice] = await until_told(here, watcher, lambda found: len(found) == 2)
    assert notice == {"type": "presence", "address": A, "count": 4, "truncated": True}
    await until(lambda: here.notices._topics[A]._replicas[there.node.id].members)
    await there.node.relay.stop()
    [_, _, notice] = await until_told(here, watcher, lambda found: len(found) == 3)
    assert (notice["count"], ids(notice["left"])) == (1, {one.id for one in crowd[118:]})
