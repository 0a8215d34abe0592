"""Two processes that share a database and a Redis, and consoles that leave with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.monitoring.console import Console, sessions_of
from tests.requests.peer import Peer
from tests.requests.serving import serving
from tests.services.databases import Databases
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.tokens.client import Client

Pair = tuple[Server, Server]
USERS: dict[str, list[str] | None] = {
    "root": None,
    "clerk": ["core.view_connectionrecord", "core.view_workerrecord"],
    "visitor": [],
}


@pytest.fixture(scope="package")
def pair(databases: Databases, tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Pair]:
    """One differs from the other in a setting."""
    shared = {
        "REDIS_URL": redis_url,
        "MAX_RECEIVERS": "7",
        "METRICS_OPEN": "yes",
        "SECRET_KEY": "0123456789abcdef" * 4,
    }
    with (
        serving(databases, tmp_path_factory, **shared) as one,
        serving(
            databases, tmp_path_factory, **shared | {"DATABASE_URL": one.database_url, "MAX_RECEIVERS": "8"}
        ) as other,
    ):
        yield one, other


@pytest.fixture(scope="package")
def sessions(pair: Pair) -> dict[str, str]:
    """Sessions of members of the staff by name."""
    return sessions_of(pair[0], **USERS)


@pytest.fixture
def quiet(pair: Pair, sessions: dict[str, str]) -> None:
    """The clients of the test before have left, and all workers that are listed as serving answer."""
    page = Console(pair[0], sessions["root"])

    def is_quiet() -> bool:
        serving = [one for one in page.ask("workers")["workers"] if one["state"] == "serving"]
        found = page.ask("connections")
        return found["count"] == len(found["missing"]) == 0 and all((one["age"] or 9) < 5 for one in serving)

    wait_until(is_quiet)
    page.close()


@pytest.fixture
def console(pair: Pair, sessions: dict[str, str], quiet: None) -> Iterator[Callable[..., Console]]:
    """Open consoles at the first process: `console(user)`."""
    opened: list[Console] = []

    def open_one(user: str = "root") -> Console:
        opened.append(Console(pair[0], sessions[user]))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def peers() -> Iterator[Callable[..., Peer]]:
    """Open peers of the requests protocol, with the server's API key: `peers(server)`."""
    opened: list[Peer] = []

    def open_one(server: Server, **options: object) -> Peer:
        opened.append(Peer(server, f"?key={server.api_key}", **options))  # type: ignore[arg-type]
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def tokens() -> Iterator[Callable[..., Client]]:
    """Open clients of the tokens protocol: `tokens(server, token)`."""
    opened: list[Client] = []

    def open_one(server: Server, token: str, **options: object) -> Client:
        opened.append(Client(server, token, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
