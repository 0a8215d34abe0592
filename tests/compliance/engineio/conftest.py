"""The test application of the conformance suites, on our own server and on a stock one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.compliance.engineio.client import Site
from tests.services.databases import REPOSITORY, Databases
from tests.services.ports import answers, free_port
from tests.services.process import Process

PATIENT = 60_000, 60_000, 60_000
"""Ping interval, ping timeout and connect timeout in milliseconds: longer than a test takes."""
SERVERS = ["serve", "uvicorn"]


@contextmanager
def served(
    databases: Databases, folder: Path, server: str, ping: int, pong: int, connect: int
) -> Iterator[int]:
    """The application on a server; its port. In milliseconds: ping interval, ping and connect timeout."""
    number = free_port()
    options = ["--port", str(number), "--server", server, "--pace", "0", "--ping-interval", str(ping)]
    options += ["--ping-timeout", str(pong), "--connect-timeout", str(connect)]
    command = [sys.executable, "-m", "tests.compliance.engineio", *options]
    url = databases.create()
    process = Process(command, log=folder / "log", cwd=REPOSITORY, env=os.environ | {"DATABASE_URL": url})
    try:
        process.wait_until(lambda: answers(number))
        yield number
    finally:
        process.stop()
        databases.drop(url)


@pytest.fixture(scope="package", params=SERVERS)
def port(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of the application, where no ping comes between packets, and no timeout ends a session."""
    with served(databases, tmp_path_factory.mktemp("patient"), request.param, *PATIENT) as number:
        yield number


@pytest.fixture(scope="package", params=SERVERS)
def pinging_port(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of the application, where pings come soon. The public suites want 300/200 ms for them."""
    with served(databases, tmp_path_factory.mktemp("pinging"), request.param, 500, 6000, 6000) as number:
        yield number


@pytest.fixture(params=[3, 4], ids=["v3", "v4"])
def site(port: int, request: pytest.FixtureRequest) -> Site:
    """The echo endpoint, for each version."""
    return Site(port, request.param)


@pytest.fixture
def old(port: int) -> Site:
    """The echo endpoint for version 3."""
    return Site(port, 3)


@pytest.fixture
def new(port: int) -> Site:
    """The echo endpoint for version 4."""
    return Site(port, 4)


@pytest.fixture
def socketio(port: int) -> Site:
    """The Socket.IO endpoint for version 4."""
    return Site(port, 4, "/socket.io/")


@pytest.fixture(params=[3, 4], ids=["v3", "v4"])
def pinging(pinging_port: int, request: pytest.FixtureRequest) -> Site:
    """The echo endpoint with pings, for each version."""
    return Site(pinging_port, request.param)


@pytest.fixture
def pinging_socketio(pinging_port: int) -> Site:
    """The Socket.IO endpoint with pings, for version 4."""
    return Site(pinging_port, 4, "/socket.io/")
