"""Notices within one process: what is gathered, what is told, and to whom."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from routing_app.core.access.masking import mask
from routing_app.core.delivery.frame import Frame
from routing_app.core.presence_notices.notices import PresenceNotices
from routing_app.core.streams.rules import RuleTable
from tests.core.layers import cluster
from tests.presence_notices.harness import NOTHING, A, B, Process, Time, ids, told

pytestmark = pytest.mark.once


def notices_of(process: Process) -> PresenceNotices | None:
    """What the hub tells of subscriptions."""
    return process.node.hub.notices


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    async with cluster("process") as processes:
        yield Process(processes.node(), Time())


async def test_those_who_come_and_go_are_told_at_once_for_200_ms(process: Process) -> None:
    there = await process.come(A)
    watcher = await process.watch(A)
    came = [await process.come(A, identity="anna"), await process.come(A, B)]
    process.leave(there, A)
    process.time.move(0.19)
    assert await told(watcher) == []
    process.time.move(0.02)
    [notice] = await told(watcher)
    assert notice == {
        "type": "presence",
        "address": A,
        "count": 3,
        "joined": [
            {"id": came[0].id, "protocol": "test", "identity": "anna"},
            {"id": came[1].id, "protocol": "test", "identity": ""},
        ],
        "left": [{"id": there.id, "protocol": "test", "identity": ""}],
    }
    process.leave(came[0])
    process.time.move(0.2)
    assert ids((await told(watcher))[1]["left"]) == {came[0].id}


async def test_there_is_no_first_notice_and_none_of_the_subscriber_itself(process: Process) -> None:
    await process.come(A)
    first, second = await process.watch(A), await process.watch(A)
    process.time.move(0.3)
    assert ids((await told(first))[0]["joined"]) == {second.id}
    assert await told(second) == []
    process.leave(second)
    process.time.move(0.3)
    assert (await told(first))[1]["count"] == 2
    assert await told(second) == []


async def test_one_that_begins_while_changes_are_gathered_is_told_of_the_later_ones(
    process: Process,
) -> None:
    first = await process.watch(A)
    before = await process.come(A)
    process.time.move(0.1)
    second = await process.watch(A)
    after = await process.come(A)
    process.time.move(0.1)
    assert ids((await told(first))[0]["joined"]) == {before.id, second.id, after.id}
    assert [(notice["count"], ids(notice["joined"])) for notice in await told(second)] == [(4, {after.id})]
    process.leave(before)
    process.time.move(0.2)
    assert ids((await told(second))[1]["left"]) == {before.id}


async def test_one_that_leaves_and_returns_meanwhile_is_not_told(process: Process) -> None:
    one = await process.come(A)
    watcher = await process.watch(A)
    process.time.move(1)
    process.leave(one, A)
    process.time.move(0.1)
    await process.node.hub.subscribe(one, A)
    process.leave(await process.come(A))
    process.time.move(1)
    assert await told(watcher) == []


@pytest.mark.parametrize(
    ("joined", "left", "truncated"), [(100, 0, False), (101, 0, True), (60, 40, False), (60, 41, True)]
)
async def test_more_than_100_entries_are_only_counted(
    process: Process, joined: int, left: int, truncated: bool
) -> None:
    there = [await process.come(A) for _ in range(left)]
    watcher = await process.watch(A)
    process.time.move(1)
    for _ in range(joined):
        await process.come(A)
    for one in there:
        process.leave(one)
    process.time.move(0.2)
    [notice] = await told(watcher)
    assert notice["count"] == 1 + joined
    if truncated:
        assert notice == {"type": "presence", "address": A, "count": 1 + joined, "truncated": True}
    else:
        assert (len(notice["joined"]), len(notice["left"])) == (joined, left)


async def test_more_than_are_kept_for_a_new_subscriber_are_only_counted(process: Process) -> None:
    watcher = await process.watch(A)
    for _ in range(500):
        await process.come(A)
    process.time.move(0.2)
    assert await told(watcher) == [{"type": "presence", "address": A, "count": 501, "truncated": True}]


async def test_identities_that_are_secrets_are_masked_by_the_rights_of_the_subscriber(
    process: Process,
) -> None:
    rights = [NOTHING]
    seeing, blind = await process.watch(A), await process.come(A)
    (await process.notices.watch(blind, [A], lambda: rights[0]))()
    process.time.move(1)
    before = len(await told(seeing))
    await process.come(A, identity="secret token", protocol="tokens")
    await process.come(A, identity="chat name", protocol="rooms")
    process.time.move(0.2)
    shown = [{one["identity"] for one in (await told(who))[-1]["joined"]} for who in (seeing, blind)]
    assert shown == [{"secret token", "chat name"}, {mask("secret token"), "chat name"}]
    assert len(await told(seeing)) == before + 1


async def test_subscribers_with_the_same_rights_share_one_frame(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchers = [await process.watch(A, access=NOTHING) for _ in range(20)]
    watchers += [await process.watch(A) for _ in range(20)]
    process.time.move(1)
    for who in watchers:
        await told(who)
    frames: set[Frame] = set()
    for who in watchers:
        monkeypatch.setattr(who.writer, "write", frames.update)
    await process.come(A, identity="secret", protocol="tokens")
    process.time.move(0.2)
    await told(watchers[0])
    assert len(frames) == 2


async def test_an_end_of_the_subscription_ends_the_notices(process: Process) -> None:
    watcher = await process.watch(A, B)
    process.leave(watcher, A)
    await process.come(A, B)
    process.time.move(1)
    assert [notice["address"] for notice in await told(watcher)] == [B]
    process.leave(watcher, B)
    await process.node.hub.subscribe(watcher, A, B)
    await process.come(A, B)
    process.time.move(1)
    assert len(await told(watcher)) == 1


async def test_a_rule_that_allows_none_any_more_ends_the_notices(process: Process) -> None:
    watcher = await process.watch(A)
    assert process.notices.allowed(A)
    process.rules = RuleTable([("token:*", 10, 300, False)])
    assert not process.notices.allowed(A)
    await process.notices.look()
    await process.come(A)
    process.time.move(1)
    assert await told(watcher) == []
    assert process.node.hub.notices is None


async def test_a_second_request_changes_nothing(process: Process) -> None:
    watcher = await process.watch(A)
    (await process.notices.watch(watcher, [A, B], lambda: NOTHING))()
    one = await process.come(A, B, identity="secret", protocol="tokens")
    process.time.move(1)
    [notice] = await told(watcher)
    assert notice["joined"] == [{"id": one.id, "protocol": "tokens", "identity": "secret"}]


async def test_nothing_is_told_before_the_request_is_answered(process: Process) -> None:
    first, second = await process.watch(A), await process.come(A)
    begin = await process.notices.watch(second, [A], lambda: NOTHING)
    one = await process.come(A)
    process.time.move(1)
    assert len(await told(first)) == 1
    assert await told(second) == []
    begin()
    process.time.move(0.2)
    assert [ids(notice["joined"]) for notice in await told(second)] == [{one.id}]


async def test_the_hub_has_nothing_to_do_while_nobody_watches(process: Process) -> None:
    await process.come(A)
    assert notices_of(process) is None
    watcher = await process.watch(A)
    assert notices_of(process) is process.notices
    process.leave(watcher)
    assert notices_of(process) is None
