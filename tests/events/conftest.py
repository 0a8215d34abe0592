"""Servers with walkers, for all tests that need no settings of their own, and people on them; and the worker
of this process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from django.conf import settings

from routing_app.core.worker import Worker, current_worker, drop_worker
from tests.events import client
from tests.events.client import TOKEN_SECRET, User, people
from tests.services.databases import Databases
from tests.services.limits import add_limit, let_everybody_log_in
from tests.services.server import Server

APPS = "tests.events.app,examples.chat"

Launch = Callable[..., AbstractContextManager[Server]]
NewUser = Callable[[], User]


@pytest.fixture(scope="package")
def launch(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """Start a server with the tests' walkers and the example's, on the stack of this run."""

    @contextmanager
    def start(runner: str = "serve", **options: str) -> Iterator[Server]:
        url = databases.create()
        basic = {
            "DATABASE_URL": url,
            "REDIS_URL": settings.REDIS_URL,
            "EXTRA_APPS": APPS,
            "EVENTS_TOKEN_SECRET": TOKEN_SECRET,
        }
        server = Server(tmp_path_factory.mktemp("events"), basic | options, runner)
        try:
            server.start()
            yield server
        finally:
            server.close()
            databases.drop(url)

    return start


@pytest.fixture(scope="package")
def events(launch: Launch) -> Iterator[Server]:
    """As open as the original; walkers may notify 100 times."""
    with launch(EVENTS_WALKER_NOTIFICATIONS="100") as server:
        let_everybody_log_in(server)
        yield server


@pytest.fixture(scope="package")
def hasty(launch: Launch) -> Iterator[Server]:
    """Walkers may run for a second, so on a slow machine any of them may be ended."""
    with launch(EVENTS_WALKER_SECONDS="1") as server:
        yield server


def database_of(redis_url: str, number: int) -> str:
    """Another database of the same Redis: logins are counted there. "" stays ""."""
    return redis_url and f"{redis_url.rpartition('/')[0]}/{number}"


def bound_logins(server: Server) -> None:
    """Five tries at once, for a user and from a network address, and then one in a minute."""
    for per in ("network", "identity"):
        add_limit(server, "events", "login", per, rate=1 / 60, burst=5)


@pytest.fixture(scope="package")
def strict(launch: Launch) -> Iterator[Server]:
    """As closed as settings make it."""
    with launch(
        REDIS_URL=database_of(settings.REDIS_URL, 1),
        EVENTS_REGISTER="no",
        EVENTS_ORIGINS="https://app.example",
        EVENTS_EXPIRED_SOCKETS="public",
        EVENTS_RECHECK_SECONDS="1",
        EVENTS_PUBLIC_WALKERS="everyone",
        EVENTS_SEND_TO_USERS="authenticated",
        EVENTS_SEND_TO_CLIENTS="nobody",
        EVENTS_SEND_TO_CHANNELS="members",
    ) as server:
        bound_logins(server)
        yield server


@pytest.fixture(scope="package")
def pair(launch: Launch, redis_url: str) -> Iterator[Server]:
    """Two workers."""
    with launch(WORKERS="2", REDIS_URL=database_of(redis_url, 2)) as server:
        bound_logins(server)
        yield server


@pytest.fixture(scope="package")
def _people(events: Server) -> list[User]:
    return people(events, 30)


@pytest.fixture
def new_user(events: Server, _people: list[User]) -> NewUser:
    """Somebody on `events` whom no other test knows, with a token."""

    def take() -> User:
        if not _people:
            _people.extend(people(events, 10))
        return _people.pop()

    return take


@pytest.fixture(scope="package")
def ann(_people: list[User]) -> User:
    return _people.pop()


@pytest.fixture(scope="package")
def bob(_people: list[User]) -> User:
    return _people.pop()


@pytest.fixture(scope="package")
def hasty_user(hasty: Server) -> User:
    """Somebody on `hasty`, whom no walker had to make."""
    return client.new_user(hasty)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """This process as a worker; it starts with its first socket."""
    one = current_worker()
    yield one
    await one.stop()
    drop_worker()
