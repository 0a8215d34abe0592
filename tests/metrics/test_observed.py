"""What is timed is timed once, where it happens."""

from __future__ import annotations

import asyncio

import pytest

from routing_app.core.codes import GAP, NORMAL, known_code
from routing_app.core.database import GroupedWrites, query
from routing_app.core.delivery.connection import Connection
from routing_app.core.delivery.publication import Publication
from routing_app.core.readings import Readings
from routing_app.core.worker import Worker
from tests.core.harness import PLAIN, Counted, Recorder, metric
from tests.services.waiting import until

pytestmark = pytest.mark.once

WRITTEN = "switchboard_publish_seconds_count"


def connect(worker: Worker, *addresses: str) -> Connection:
    id = f"{worker.id}{len(worker.hub.connections()):012x}"
    connection = Connection(id, "tokens", Recorder(), worker.flusher, PLAIN)
    worker.hub.add(connection)
    for address in addresses:
        worker.hub._add(connection, address)
    return connection


async def test_publish_to_written_counts_each_publication_that_reached_somebody() -> None:
    from channels.layers import InMemoryChannelLayer

    worker = Worker(InMemoryChannelLayer(), asyncio.get_running_loop())
    for _ in range(3):
        connect(worker, "token:metrics")
    written, seconds = Counted(WRITTEN), Counted("switchboard_publish_seconds_sum")

    await worker.hub.publish(Publication(("token:nobody",), "to nobody"))
    worker.hub.publish_soon(Publication(("token:metrics",), "one"))
    worker.hub.publish_soon(Publication(("token:metrics",), "two"))
    assert written.grown == 0  # nothing is written within the turn
    await asyncio.sleep(0)
    assert written.grown == 2
    assert seconds.grown > 0

    await worker.hub.publish(Publication(("token:nobody",), "to nobody"))
    await asyncio.sleep(0)
    assert written.grown == 2
    await worker.stop()


async def test_the_time_of_a_publication_begins_with_it_and_not_with_one_that_reached_nobody() -> None:
    worker = Worker(None, asyncio.get_running_loop())
    until_written = worker.flusher.until_written
    until_written.begun = -1_000_000.0  # what an earlier one has left
    connect(worker, "token:metrics")
    long = Counted("switchboard_publish_seconds_bucket", le="10.0")

    worker.hub.publish_soon(Publication(("token:metrics",), "one"))
    await asyncio.sleep(0)

    assert long.grown == 1


@pytest.mark.django_db(transaction=True)
async def test_queries_and_grouped_writes_are_timed() -> None:
    queries, waits = (
        Counted("switchboard_query_seconds_count"),
        Counted("switchboard_write_wait_seconds_count"),
    )
    transactions = Counted("switchboard_write_seconds_count")
    await query(lambda: None)
    with pytest.raises(ZeroDivisionError):
        await query(lambda: 1 / 0)
    assert queries.grown == 2

    writes = GroupedWrites()
    await asyncio.gather(*(writes.submit(lambda: None) for _ in range(5)))
    assert waits.grown == 5
    assert 1 <= transactions.grown <= 5


async def test_what_waits_for_clients_is_added_up() -> None:
    worker = Worker(None, asyncio.get_running_loop())
    readings = Readings(worker.hub, worker.relay)
    one, two = connect(worker, "token:metrics"), connect(worker)
    assert isinstance(two.writer, Recorder)
    two.writer.stuck = True
    one.send("1234")
    two.send("12345")
    two.outbox.flush()

    await readings._read_outboxes()
    assert metric("switchboard_outbox_bytes") == 9

    reading = asyncio.ensure_future(readings.read_all())
    await until(lambda: metric("switchboard_outbox_bytes") == 5)  # the turn has ended: one has its frame
    reading.cancel()


async def test_the_loop_is_seen_to_be_late() -> None:
    worker = Worker(None, asyncio.get_running_loop())
    looks = Counted("switchboard_loop_lag_seconds_count")
    timing = asyncio.ensure_future(Readings(worker.hub, worker.relay).time_loop())
    await until(lambda: looks.grown >= 1)
    timing.cancel()


def test_a_code_that_a_client_made_up_is_not_a_label() -> None:
    assert known_code(NORMAL.code) == "1000"
    assert known_code(GAP.code) == "4200"
    assert known_code(1006) == "1006"
    assert {known_code(code) for code in (999, 1016, 2999, 3000, 4999)} == {"other"}
