"""Connected clients by Switchboard's database, read past the server."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Final

import psycopg

COUNT: Final = "SELECT (SELECT count(*) FROM core_connectionrecord), (SELECT count(*) FROM core_subscription)"


def recorded(database_url: str) -> int:
    """Connections that are recorded, if each has one recorded address; else -1."""
    if database_url.startswith("sqlite"):
        path = database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as database:
            connections, subscriptions = database.execute(COUNT).fetchone()
    else:
        with psycopg.connect(database_url) as connection:
            row = connection.execute(COUNT).fetchone()
            assert row is not None
            connections, subscriptions = row
    return int(connections) if connections == subscriptions else -1


def seconds_until(database_url: str, count: int, patience: float = 15) -> float | None:
    """Wait until so many connections are recorded; the seconds it took, None when they never were."""
    start = time.monotonic()
    while recorded(database_url) != count:
        if time.monotonic() - start > patience:
            return None
        time.sleep(0.01)
    return time.monotonic() - start
