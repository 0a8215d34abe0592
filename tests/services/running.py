"""A server that runs on a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from tests.services.databases import Databases
from tests.services.server import Server


@contextmanager
def running(databases: Databases, folder: Path, runner: str = "serve", **options: str) -> Iterator[Server]:
    """A server that keeps its files in `folder`, for the time of a context."""
    url = databases.create()
    server = Server(folder, {"DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL, **options}, runner)
    try:
        server.start()
        yield server
    finally:
        server.close()
        databases.drop(url)
