"""Servers for the console's socket and for "Try it", and members of the staff who have them open."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.console.playwright import Playwright
from tests.console.trying import Page, Site, open_page
from tests.monitoring.console import Console, sessions_of
from tests.services.browser import Browser, Chromium
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server

Open = Callable[[str], Console]

PEOPLE: dict[str, list[str] | None] = {
    "root": None,
    "nothing": [],
    "other": [],
    "loses": ["core.view_connectionrecord"],
    "leaves": [],
    "ends": [],
}
"""Members of the staff, and their permissions."""


@pytest.fixture(scope="package")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it comes, but that it may call webhooks here, and waits for players for longer."""
    options = {"WEBHOOKS_PRIVATE": "yes", "SESSIONS_BIND_SECONDS": "300"}
    with running(databases, tmp_path_factory.mktemp("console"), **options) as server:
        yield server


@pytest.fixture(scope="package")
def sessions(broker: Server) -> dict[str, str]:
    """Session keys by the names in PEOPLE."""
    return sessions_of(broker, **PEOPLE)


@pytest.fixture
def console(broker: Server, sessions: dict[str, str]) -> Iterator[Open]:
    """Open consoles, which are closed with the test."""
    opened: list[Console] = []

    def open_one(name: str) -> Console:
        opened.append(Console(broker, sessions[name]))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture(scope="package")
def site(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with the panels of the examples, too, for tests that are `once`: one process without Redis."""
    options = {"REDIS_URL": "", "EXTRA_APPS": "examples.chat,examples.pusher"}
    with running(databases, tmp_path_factory.mktemp("try"), **options) as server:
        yield Site(server, sessions_of(server, root=None, plain=[]))


@pytest.fixture
async def page(browser: Browser, site: Site) -> Page:
    """The page "Try it" of a superuser."""
    return await open_page(browser, site.server, site.sessions["root"])


@pytest.fixture(scope="package")
def playwright(chromium: Chromium) -> Iterator[Playwright]:
    """The driver of the shared browser."""
    with Playwright(chromium) as driver:
        yield driver
