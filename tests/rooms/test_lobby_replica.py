"""However late, doubled, swapped or lost changes come: what a member is told replays to the truth."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing_app.rooms.lobby_replica import (
    HERE,
    JOINED,
    LEFT,
    Change,
    LobbyReplica,
    LocalMember,
    pack,
    unpack,
)
from tests.core.harness import scaled

pytestmark = pytest.mark.once

IDS = "abcdef"
LOBBY = 7


class Subscriber:
    """A member, and what it was told."""

    def __init__(self, replica: LobbyReplica, id: str, peers: bool = True) -> None:
        self.received: list[tuple[str, Any]] = []
        self.lost = 0
        self.local = LocalMember(id, self._tell, peers, self._lose)
        replica.expect(self.local)

    def _tell(self, event: str, argument: Any) -> None:
        self.received.append((event, argument))

    def _lose(self) -> None:
        self.lost += 1

    def replayed(self) -> set[str]:
        there: set[str] = set()
        for event, argument in self.received:
            if event == "PEERS":
                there |= set(argument)
            elif event == JOINED:
                there.add(argument)
            else:
                there.remove(argument)
        return there


def history(moves: list[str]) -> list[tuple[Change, list[str]]]:
    """Changes, each with who is there after it: an id that is there leaves, another one comes."""
    there: list[str] = []
    told = []
    for number, id in enumerate(moves, 2):
        event = LEFT if id in there else JOINED
        if event == LEFT:
            there.remove(id)
        else:
            there.append(id)
        told.append((Change((LOBBY, number), event, id), ["me", *there]))
    return told


plans = st.fixed_dictionaries(
    {
        "moves": st.lists(st.sampled_from(IDS), max_size=30),
        # How far each change is put off, whether it is lost, and whether it comes twice.
        "delays": st.lists(st.integers(0, 6), min_size=30, max_size=30),
        "lost": st.sets(st.integers(0, 29)),
        "twice": st.sets(st.integers(0, 29)),
        # Before which arrivals the rows are read, and how old what they say is by then.
        "looks": st.dictionaries(st.integers(0, 30), st.integers(0, 3)),
        "begins": st.integers(0, 10),
    }
)


@settings(max_examples=scaled(200))
@given(plans)
def test_told_changes_replay_to_the_truth(plan: dict[str, Any]) -> None:
    async def attempt() -> None:
        told = history(plan["moves"])
        first = min(plan["begins"], len(told))
        replica = LobbyReplica()
        me = Subscriber(replica, "me")
        states = [((LOBBY, 1), ["me"]), *((change.stamp, there) for change, there in told)]
        replica.look(*states[first])
        arrivals = sorted(range(first, len(told)), key=lambda number: number + plan["delays"][number % 30])
        newest = first
        for turn, number in enumerate(arrivals):
            newest = max(newest, number + 1)
            if (age := plan["looks"].get(turn)) is not None:
                replica.look(*states[max(newest - age, 0)])
            if number not in plan["lost"]:
                replica.take(told[number][0])
            if number in plan["twice"]:
                replica.take(unpack(pack(told[number][0])))
        replica.look(*states[-1])

        assert me.replayed() == set(states[-1][1])
        assert not replica.behind
        assert me.received[:2] == [
            (JOINED, "me"),
            ("PEERS", [id for id in states[first][1] if id != "me"]),
        ]

    asyncio.run(attempt())


@given(st.lists(st.sampled_from(IDS), max_size=30), st.randoms(use_true_random=False))
def test_without_a_loss_all_members_receive_all_changes_in_order(moves: list[str], chance: Any) -> None:
    async def attempt() -> None:
        told = [change for change, _ in history(moves)]
        for _ in range(2):
            replica = LobbyReplica()
            me = Subscriber(replica, "me")
            replica.look((LOBBY, 1), ["me"])
            for change in chance.sample(told, len(told)):
                replica.take(change)
            assert me.received[2:] == [(change.event, change.id) for change in told]

    asyncio.run(attempt())


async def test_each_is_taken_in_by_its_own_change_or_by_the_rows():
    replica = LobbyReplica()
    first, second = Subscriber(replica, "a"), Subscriber(replica, "b", peers=False)

    replica.look((LOBBY, 1), ["x", "a"])
    assert first.received == [(JOINED, "a"), ("PEERS", ["x"])]
    assert (second.received, second.local.admitted.done()) == ([], False)
    replica.take(Change((LOBBY, 2), JOINED, "b"))

    assert first.received[2:] == second.received == [(JOINED, "b")]
    assert second.local.admitted.result() is True


async def test_a_member_that_comes_again_before_its_end_was_told_has_left():
    replica = LobbyReplica()
    one = Subscriber(replica, "a")
    replica.look((LOBBY, 1), ["a", "b"])

    replica.take(Change((LOBBY, 2), JOINED, "b"))
    replica.take(Change((LOBBY, 3), HERE, "b"))
    replica.take(Change((LOBBY, 4), HERE, "c"))

    assert one.received[1:] == [("PEERS", ["b"]), (LEFT, "b"), (JOINED, "b"), (JOINED, "c")]


async def test_a_member_that_the_lobby_thinks_gone_is_missing_until_it_leaves():
    replica = LobbyReplica()
    one = Subscriber(replica, "a")
    replica.look((LOBBY, 1), ["a"])

    replica.take(Change((LOBBY, 2), LEFT, "a"))

    assert one.received[2:] == []
    assert [local.id for local in replica.missing()] == ["a"]
    replica.leave("a")
    assert (replica.missing(), replica.empty) == ([], True)


async def test_a_lobby_that_is_made_again_goes_on_above_the_old_one():
    replica = LobbyReplica()
    one = Subscriber(replica, "a")
    replica.look((LOBBY + 1, 1), ["a"])

    replica.take(Change((LOBBY, 2), JOINED, "b"))
    replica.take(Change((LOBBY + 1, 2), JOINED, "c"))

    assert one.received[2:] == [(JOINED, "c")]
