"""A million revocations: the processor time that they cost a handshake and a start, and their memory.

Processor time of this process, not elapsed time: a busy machine changes it little.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest
from django.db import connection

from routing_app.core.access.grants import Grant
from routing_app.core.database import query
from routing_app.core.delivery.connection import Connection, Peer, new_id
from routing_app.core.models import Revocation
from routing_app.core.revocations.known import Revocations
from routing_app.core.worker import Worker, current_worker, drop_worker
from tests.core.harness import PLAIN, Recorder

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak, pytest.mark.timeout(1200)]

logger = logging.getLogger(__name__)

MILLION = 1_000_000
HANDSHAKES = 20_000
MOST_MICROSECONDS = 50.0
NAMES = "subject, jti, token, key, network, reason"
NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s)",
    "postgresql": "WITH numbers(n) AS (SELECT generate_series(0, %s))",
}
ROWS = """
    SELECT
        CASE WHEN n %% 4 = 0 THEN 'user-' || n ELSE '' END,
        CASE WHEN n %% 4 = 1 THEN 'token-' || n ELSE '' END,
        CASE WHEN n %% 4 = 2 THEN 'secret-' || n ELSE '' END,
        '',
        CASE WHEN n %% 4 = 3 AND n < 4 * 32 THEN '192.0.0.0/' || (n / 4 + 1)
             WHEN n %% 4 = 3
             THEN '10.' || (n / 65536 %% 256) || '.' || (n / 256 %% 256) || '.' || (n %% 256) || '/32'
             ELSE '' END,
        ''
    FROM numbers
"""


def fill() -> None:
    """A million rows: a quarter each of subjects, ids, tokens and networks."""
    with connection.cursor() as cursor:
        table = Revocation._meta.db_table
        cursor.execute(
            f"INSERT INTO {table} ({NAMES}) {NUMBERS[connection.vendor]} {ROWS}"
            if connection.vendor == "postgresql"
            else f"{NUMBERS[connection.vendor]} INSERT INTO {table} ({NAMES}) {ROWS}",
            [MILLION - 1],
        )


def resident() -> float:
    """MiB of memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def connections(worker: Worker) -> list[Connection]:
    found = []
    for number in range(HANDSHAKES):
        peer = Peer(f"203.0.{number // 250 % 100}.{number % 250}", 4000)
        one = Connection(new_id(worker.id), "tokens", Recorder(), worker.flusher, PLAIN, peer)
        one.identity = f"good-{number}"
        one.grant = Grant(subject=f"good-{number}", jti=f"good-{number}", key_prefix="sb_good0")
        found.append(one)
    return found


async def microseconds(look: Callable[[Connection], object], clients: list[Connection]) -> float:
    begun = process_time()
    for client in clients:
        await look(client)  # type: ignore[misc]
    return (process_time() - begun) / len(clients) * 1e6


async def test_a_million_cost_a_handshake_less_than_50_microseconds() -> None:
    worker = current_worker()
    try:
        await query(fill)
        before, begun = resident(), process_time()
        await worker.start()
        loading, memory = process_time() - begun, resident() - before
        known: Revocations = worker.revocations
        clients = connections(worker)
        cost = await microseconds(known.concern_connection, clients)
        await query(Revocation.objects.all().delete)
        empty = Revocations(worker.hub, worker.spawn, lambda: worker.protocols)
        await empty.read()
        free = await microseconds(empty.concern_connection, clients)
    finally:
        await worker.stop()
        drop_worker()
    figures = f"{cost:.1f} µs a handshake, {free:.2f} µs without any; {loading:.1f} s, {memory:.0f} MiB"
    logger.warning("a million revocations: %s", figures)
    assert len(known) > MILLION * 0.99
    assert cost < MOST_MICROSECONDS, figures
    assert free < cost / 10, figures
