"""The cost of an address."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from tests.core.harness import Node
from tests.core.layers import Cluster
from tests.services.waiting import until

pytestmark = pytest.mark.once

ADDRESSES = 4_000
CONNECTIONS = 20
FILES = ("delivery/hub.py", "cluster/relay.py")
CORE = [tracemalloc.Filter(inclusive=True, filename_pattern=f"*/core/{name}") for name in FILES]


@pytest.mark.parametrize("processes", ["process"], indirect=True)
async def test_an_address_with_one_subscriber_takes_less_than_a_kilobyte_and_gives_it_back(
    processes: Cluster,
):
    """Tables of dicts and sets stay as large as they once were; a second crowd finds them."""
    node = processes.node()
    names = [f"token:{number:08}" for number in range(ADDRESSES)]
    tracemalloc.start()
    try:
        taken, left = await come_and_go(processes, node, names)
        _, left_again = await come_and_go(processes, node, names)
    finally:
        tracemalloc.stop()

    assert taken / ADDRESSES < 1000
    assert left < taken / 2
    assert abs(left_again - left) / ADDRESSES < 10


async def come_and_go(processes: Cluster, node: Node, names: list[str]) -> tuple[int, int]:
    """Bytes held while a crowd is subscribed to all addresses, and after it has left."""
    crowd = [node.connect() for _ in range(CONNECTIONS)]
    for number, connection in enumerate(crowd):
        await node.hub.subscribe(connection, *names[number::CONNECTIONS])
    taken = traced()
    for connection in crowd:
        node.hub.drop(connection)
    await until(lambda: not processes.subscriptions())
    return taken, traced()


def traced() -> int:
    """Bytes that the hub and the relay have allocated and still hold."""
    gc.collect()
    snapshot = tracemalloc.take_snapshot().filter_traces(CORE)
    return sum(line.size for line in snapshot.statistics("filename"))
