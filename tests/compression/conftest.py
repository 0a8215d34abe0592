"""A server that compresses, one that does not, and what their clients say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings

from tests.services.databases import Databases
from tests.services.server import Server


@contextmanager
def serving(
    databases: Databases, paths: pytest.TempPathFactory, runner: str = "serve", **options: str
) -> Iterator[Server]:
    """A server with a database of its own."""
    url = databases.create()
    options = {"DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL, **options}
    server = Server(paths.mktemp("compression"), options, runner)
    try:
        server.start()
        yield server
    finally:
        server.close()
        databases.drop(url)


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that compresses, for clients of any page."""
    options = {"COMPRESSION": "yes", "ROOMS_ORIGINS": "*", "TOKENS_ORIGINS": "*"}
    with serving(databases, tmp_path_factory, **options) as server:
        yield server


@pytest.fixture(scope="package")
def plain_broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it comes: without compression."""
    with serving(databases, tmp_path_factory) as server:
        yield server
