"""One server and one backend for all tests of hooks; each test has addresses and paths of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.events.client import TOKEN_SECRET
from tests.hooks.backend import Backend, Hooks
from tests.hooks.node import NodeBackend
from tests.requests.serving import serving
from tests.services.databases import Databases
from tests.services.limits import let_everybody_log_in
from tests.services.server import Server


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the handlers of the tests of requests, and the walkers of those of events."""
    options = {"EXTRA_APPS": "tests.requests.app,tests.events.app", "EVENTS_TOKEN_SECRET": TOKEN_SECRET}
    with serving(databases, tmp_path_factory, **options) as server:
        let_everybody_log_in(server)
        yield server


@pytest.fixture(scope="package")
def backend() -> Iterator[Backend]:
    one = Backend()
    yield one
    one.close()


@pytest.fixture
def hooks(broker: Server, backend: Backend) -> Hooks:
    return Hooks(broker, backend)


@pytest.fixture
def name() -> str:
    """Of the test's own address."""
    return secrets.token_hex(4)


@pytest.fixture(scope="package")
def _node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeBackend]:
    with NodeBackend(tmp_path_factory.mktemp("node")) as one:
        yield one


@pytest.fixture
def node(_node: NodeBackend) -> NodeBackend:
    """It has been asked nothing yet."""
    _node.forget()
    return _node
