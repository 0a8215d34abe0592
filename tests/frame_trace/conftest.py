"""Two servers on one database and one Redis, which all tests of traces share, and members of their staff."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Final

import pytest

from tests.frame_trace.clients import Console
from tests.services.databases import Databases
from tests.services.server import Server

Pair = tuple[Server, Server]
Open = Callable[..., Awaitable[Console]]

LOG_IN: Final = """
import json
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

settings.ALLOWED_HOSTS = ["*"]
sessions = {}
for name, permissions in (("bodies", ("trace", "read_bodies")), ("masked", ("trace",)), ("staff", ())):
    user = get_user_model().objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    sessions[name] = client.session.session_key
print("PREPARED", json.dumps(sessions))
"""


@contextmanager
def two_servers(
    databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """The servers: consoles are at the first one."""
    options = {"DATABASE_URL": databases.create(), "REDIS_URL": redis_url}
    here, there = (Server(tmp_path_factory.mktemp("trace"), options) for _ in range(2))
    try:
        here.start()
        there.start()
        yield here, there
    finally:
        here.close()
        there.close()
        databases.drop(options["DATABASE_URL"])


def log_in(server: Server) -> dict[str, str]:
    """The sessions of `bodies`, who may read bodies, of `masked`, and of `staff`, who may not trace."""
    output = server.manage("shell", "-v0", "-c", LOG_IN)
    found: dict[str, str] = json.loads(output.rpartition("PREPARED ")[2])
    return found


@pytest.fixture(scope="package")
def pair(databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with two_servers(databases, redis_url, tmp_path_factory) as both:
        yield both


@pytest.fixture(scope="package")
def sessions(pair: Pair) -> dict[str, str]:
    return log_in(pair[0])


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Closes what a test opens."""
    async with AsyncExitStack() as exits:
        yield exits


@pytest.fixture
def page(pair: Pair, sessions: dict[str, str], stack: AsyncExitStack) -> Open:
    """Open a console: `await page("masked")`."""

    async def opened(user: str = "bodies", server: Server | None = None) -> Console:
        return await Console.open(stack, server or pair[0], sessions[user])

    return opened


@pytest.fixture
def name() -> str:
    """A token, a room or a channel that no other test uses."""
    return f"t-{secrets.token_hex(6)}"
