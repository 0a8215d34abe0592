"""The test application of the conformance suites, on our own server and on a stock one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from tests.compliance.engineio.client import Site
from tests.services.databases import REPOSITORY, Databases
from tests.services.ports import answers, free_port
from tests.services.process import Process


@pytest.fixture(scope="package", params=["serve", "uvicorn"])
def port(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of the application. The public suites want 300/200 ms; a busy machine needs longer."""
    number = free_port()
    options = ["--port", str(number), "--server", request.param, "--pace", "0"]
    options += ["--ping-interval", "500", "--ping-timeout", "4000", "--connect-timeout", "1500"]
    log = tmp_path_factory.mktemp("compliance") / "log"
    command = [sys.executable, "-m", "tests.compliance.engineio", *options]
    url = databases.create()
    process = Process(command, log=log, cwd=REPOSITORY, env=os.environ | {"DATABASE_URL": url})
    try:
        process.wait_until(lambda: answers(number))
        yield number
    finally:
        process.stop()
        databases.drop(url)


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
