"""Servers of ours with plain ASGI applications: `plain()` starts one, `shared` lives for all tests, and
`group` has two workers under a supervisor.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.server.group import Group
from tests.server.plain import PATIENT, Plain, PlainFactory
from tests.services.process import runs


@pytest.fixture(scope="package")
def plain_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainFactory]:
    """Start servers that live until all tests are done."""
    yield from _starting(tmp_path_factory)


@pytest.fixture
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainFactory]:
    """Start servers that end with the test: `plain(*arguments, environ={})`."""
    yield from _starting(tmp_path_factory)


@pytest.fixture(scope="package")
def shared(plain_session: PlainFactory) -> Plain:
    """One server for tests that do not end it: frames up to 64 KiB. It is patient with its clients."""
    sizes = ("--websocket-max-message-size", "65536", "--websocket-max-frame-size", "65536")
    return plain_session(*sizes, environ=PATIENT)


@pytest.fixture
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """Two workers that listen."""
    one = Group(tmp_path_factory.mktemp("group"))
    workers: set[int] = set()
    try:
        one.wait_until_ready()
        workers = one.workers()
        yield one
    finally:
        workers |= one.workers() if one.process.exit_code is None else set()
        one.process.kill_session()
        for pid in filter(runs, workers):
            os.kill(pid, signal.SIGKILL)


def _starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainFactory]:
    started: list[Plain] = []

    def start(*arguments: str, environ: dict[str, str] | None = None) -> Plain:
        started.append(Plain(tmp_path_factory.mktemp("plain"), *arguments, environ=environ))
        return started[-1]

    yield start
    for one in started:
        one.process.kill_session()
