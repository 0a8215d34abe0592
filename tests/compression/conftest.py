"""A server that compresses, one that does not, and what their clients say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that compresses, for clients of any page."""
    options = {"COMPRESSION": "yes", "ROOMS_ORIGINS": "*", "TOKENS_ORIGINS": "*"}
    with running(databases, tmp_path_factory.mktemp("compression"), **options) as server:
        yield server


@pytest.fixture(scope="package")
def plain_broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it comes: without compression."""
    with running(databases, tmp_path_factory.mktemp("compression")) as server:
        yield server
