"""One server for all real clients, and the clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.interop import oldclient
from tests.interop.puppet import FOLDER
from tests.services.databases import Databases
from tests.services.server import Server


@pytest.fixture(scope="package", autouse=True)
def node_modules() -> None:
    """The npm packages; `make test` installs them before the tests."""
    if not (FOLDER / "node_modules" / "socket.io-client-4.8").exists():
        pytest.skip("THE REAL SOCKET.IO CLIENTS ARE NOT TESTED: npm could not install tests/interop")


@pytest.fixture(scope="package")
def old_python() -> Path:
    """The interpreter that has socketIO-client-2."""
    try:
        return oldclient.interpreter()
    except oldclient.Unreachable as error:
        pytest.skip(f"SOCKETIO-CLIENT-2 IS NOT TESTED: the package registry is unreachable: {error}")


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests share; rooms keep them apart."""
    url = databases.create()
    options = {"DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL}
    server = Server(tmp_path_factory.mktemp("broker"), options)
    try:
        server.start()
        yield server
    finally:
        server.close()
        databases.drop(url)
