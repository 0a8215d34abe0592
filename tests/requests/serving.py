"""Servers that have the tests' handlers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings

from tests.services.databases import Databases
from tests.services.server import Server


@contextmanager
def serving(databases: Databases, paths: pytest.TempPathFactory, **options: str) -> Iterator[Server]:
    """A server with the tests' handlers and a database of its own, unless options name one."""
    url = options.get("DATABASE_URL") or databases.create()
    basic = {"DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL, "EXTRA_APPS": "tests.requests.app"}
    server = Server(paths.mktemp("requests"), basic | options)
    try:
        server.start()
        yield server
    finally:
        server.close()
        if "DATABASE_URL" not in options:
            databases.drop(url)
