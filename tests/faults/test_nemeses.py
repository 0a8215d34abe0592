"""The dice reach every link in every direction, every server and every clock; and a link is whole again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest

from faults.history import History
from faults.nemeses import NEMESES
from faults.nemeses.clock import StepClock
from faults.nemeses.links import WAYS, Cut, HalfOpen, Hold, WayFault
from faults.nemeses.processes import Drain, DrainWorker, StillRunning
from faults.world import World
from tests.faults.cluster import Member
from tests.faults.proxy import Proxy, Way
from tests.services.server import Server

pytestmark = pytest.mark.once

THROWS = 400
LINKS = {f"{link} of {number}" for link in ("clients", "redis", "postgres") for number in (0, 1)}


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    """Two servers that were not started, and links that lead nowhere."""
    with ExitStack() as stack:

        def proxy() -> Proxy:
            return stack.enter_context(Proxy(1))

        nothing = cast(Server, None)
        nodes = [Member(nothing, proxy(), proxy(), proxy(), (proxy(),)) for _ in range(2)]
        clocks = {0: tmp_path / "0", 1: tmp_path / "1"}
        yield World(History(), random.Random(0), nodes, clocks=clocks)


def thrown(kind: Any, world: World) -> list[Any]:
    return [kind(world, random.Random(number)) for number in range(THROWS)]


def test_each_link_is_cut(world: World) -> None:
    assert {one.target for one in thrown(Cut, world)} == LINKS


@pytest.mark.parametrize("kind", [Hold, HalfOpen])
def test_each_direction_of_each_link_is_cut_alone_and_with_the_other(
    kind: type[WayFault], world: World
) -> None:
    found = {(one.target, one.ways) for one in thrown(kind, world)}
    assert found == {(link, ways) for link in LINKS for ways in WAYS}
    assert set(WAYS) == {frozenset({Way.UP}), frozenset({Way.DOWN}), frozenset(Way)}


@pytest.mark.parametrize("kind", [Hold, HalfOpen])
def test_a_fault_of_a_link_is_that_of_all_its_proxies_and_of_no_other(
    kind: type[WayFault], world: World
) -> None:
    def stopped() -> dict[Proxy, set[Way]]:
        proxies = [proxy for node in world.nodes for link in node.links.values() for proxy in link]
        held = {one: {way for way in Way if not one.is_open[way].is_set()} for one in proxies}
        return {one: held[one] | one.swallowed for one in proxies if held[one] | one.swallowed}

    fault = next(one for one in thrown(kind, world) if one.target == "redis of 1" and one.ways == {Way.DOWN})
    assert fault.begin() == "to the client, redis of 1"
    proxies = world.nodes[1].links["redis"]
    assert stopped() == {one: {Way.DOWN} for one in proxies}
    assert len(proxies) == 2
    fault.heal()
    assert stopped() == {}


def test_the_clock_of_each_server_is_stepped(world: World) -> None:
    assert {one.target for one in thrown(StepClock, world)} == {"clock of 0", "clock of 1"}
    first = next(one for one in thrown(StepClock, world) if one.number() == 0)
    first.begin()
    assert float(world.clocks[0].read_text()) != 0
    assert not world.clocks[1].exists()


def test_the_clock_of_a_server_without_libfaketime_stays(world: World) -> None:
    world.clocks = {1: world.clocks[1]}
    assert {one.target for one in thrown(StepClock, world)} == {"clock of 1"}


def test_a_worker_is_drained_on_each_server_in_each_way(world: World) -> None:
    asked: set[tuple[int, str]] = set()
    for one in thrown(DrainWorker, world):
        one.worker = lambda: 0
        one._ask_over_rest = lambda pid, one=one: asked.add((one.number(), "REST"))
        one._ask_by_signal = lambda pid, one=one: asked.add((one.number(), "SIGHUP"))
        one.begin()
    assert asked == {(number, way) for number in (0, 1) for way in ("REST", "SIGHUP")}


@pytest.mark.parametrize("code", [0, 1, -9])
def test_a_server_that_does_not_end_by_itself_fails_the_attack(world: World, code: int) -> None:
    """`Server.stop` kills it then, and says so by a negative code."""
    for node in world.nodes:
        node.server = cast(Server, SimpleNamespace(stop=lambda seconds: code))
    fault = Drain(world, random.Random(0))
    if code < 0:
        with pytest.raises(StillRunning, match="did not end within 180 s"):
            fault.begin()
    else:
        assert fault.begin() == f"server {fault.number()} ended with {code}"


def test_every_kind_of_fault_has_a_name_of_its_own() -> None:
    names = [kind.name for kind in NEMESES]
    assert len(set(names)) == len(names) == len(NEMESES)
    assert all(names)
