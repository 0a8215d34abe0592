"""Pages show what clients at two processes did, and their acts reach clients at the other one."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from functools import partial

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from routing_app.core.monitoring.cluster import ANSWER_SECONDS
from tests.conftest import ServerFactory
from tests.console.playwright import Playwright, PlaywrightPage
from tests.console.population import Population
from tests.monitoring.console import Console, sessions_of
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server
from tests.services.waiting import wait_until

# What crosses Redis and databases is tested without a browser.
pytestmark = pytest.mark.once

Pair = tuple[Server, Server]
PROTOCOLS = ("tokens", "rooms", "events", "requests", "sessions")


@pytest.fixture(scope="module")
def pair(databases: Databases, tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Pair]:
    """Consoles are at the first one, clients at the other."""
    folder = tmp_path_factory.mktemp
    with running(databases, folder("here"), REDIS_URL=redis_url) as here:
        there = Server(folder("there"), {"REDIS_URL": redis_url, "DATABASE_URL": here.database_url})
        try:
            there.start()
            yield here, there
        finally:
            there.close()


@pytest.fixture(scope="module")
def root(pair: Pair) -> str:
    return sessions_of(pair[0], root=None)["root"]


@pytest.fixture
def page(playwright: Playwright, pair: Pair, root: str) -> Iterator[PlaywrightPage]:
    """A page of a superuser, on the overview of an installation without clients."""
    opened = playwright.open(pair[0], root)
    opened.until_text('[data-total="connections"]', "0")
    yield opened
    assert opened.problems() == []
    opened.close()


@pytest.fixture
def there(pair: Pair) -> Iterator[Population]:
    """Clients at the other process."""
    with Population(pair[1]) as made:
        made.customer = secrets.token_hex(6)
        yield made


def totals_of_before(page: PlaywrightPage, pair: Pair, root: str) -> dict[str, int]:
    """The totals, by what every worker has answered since now: one that stands still is shown as it was."""
    console, begun = Console(pair[0], root), time.monotonic()

    def all_have_answered() -> bool:
        since = time.monotonic() - begun - ANSWER_SECONDS
        workers = [one for one in console.ask("overview")["workers"] if one["state"] == "serving"]
        return all(one["age"] is not None and one["age"] < since for one in workers)

    wait_until(all_have_answered)
    console.close()
    now = time.time()
    told = wait_until(lambda: [one["totals"] for one in page.pushed() if one["at"] > now])[0]
    return {name: int(told.get(name, 0)) for name in TOTALS}


def closing(socket: ClientConnection) -> int:
    """The code with which the server closes."""
    try:
        while True:
            socket.recv(timeout=60)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


TOTALS = {
    "connections": 5,
    "opened": 5,
    "closed": 0,
    "received": 1 + 2 + 1 + 1 + 1,
    "published": 3,
    "delivered": 3 * 2,
    **{f"connections.{name}": 1 for name in PROTOCOLS},
}


def test_the_overview_shows_what_clients_did(
    page: PlaywrightPage, there: Population, pair: Pair, root: str
) -> None:
    before = totals_of_before(page, pair, root)
    there.clients()
    for count in range(3):
        there.rest("POST", "publish", {"addresses": ["token:token"], "message": count})
    for name in ("tokens", "requests"):
        for _ in range(3):
            there.sockets[name].recv(timeout=60)

    for name, value in TOTALS.items():
        page.until_text(f'[data-total="{name}"]', f"{before[name] + value:,}")
    # All of it has been told, however long a process stood still; and no more is told later.
    told = time.time()
    shown = wait_until(lambda: [one["totals"] for one in page.pushed() if one["at"] > told + 1])[0]
    sums = ("opened", "received", "published", "delivered")
    assert {name: shown[name] - before[name] for name in sums} == {name: TOTALS[name] for name in sums}


def test_connections_are_listed_with_what_they_did(page: PlaywrightPage, there: Population) -> None:
    there.clients()
    for _ in range(4):
        there.sockets["tokens"].send("Echo:12345")
        there.sockets["tokens"].recv(timeout=60)
    page.go("connections/")
    page.until_text('[data-total="connections"]', "5")
    for name in PROTOCOLS:
        page.until_text(f'[data-total="connections.{name}"]', "1")
    page.steps(["locator", "#filters [name=protocol]"], ["selectOption", "tokens"])
    page.until_text('[data-total="connections"]', "1")
    for column in (6, 8):  # what came is counted before what was sent for it
        page.until_text(f"#list tbody td:nth-child({column})", "5")
    cells = page.texts("#list tbody td")
    assert cells[1:3] == ["tokens", "token"]
    assert cells[6] == f"{len('Echo:echo') + 4 * len('Echo:12345')} B"
    assert cells[7:9] == ["5", f"{len('echo') + 4 * len('12345')} B"]


def test_a_client_is_found_and_disconnected(page: PlaywrightPage, there: Population) -> None:
    there.clients()
    page.go("connections/")
    page.fill("Identity", "token")
    page.until_text('[data-total="connections"]', "1")
    page.click("#list tbody a")
    page.until_text("#state", "connected")
    assert "agent" in page.texts("#facts dd")

    page.press("Disconnect")
    page.click("dialog button.danger")
    assert closing(there.sockets["tokens"]) == 4003
    page.until_text("#state", "ended")
    page.go("connections/")
    page.until_text('[data-total="connections"]', "4")


def test_a_network_is_revoked(page: PlaywrightPage, there: Population) -> None:
    there.clients()
    other = there.open("/ws", "other", host="127.0.0.2")
    page.go("connections/")
    page.fill("Network", "127.0.0.2")
    page.until_text('[data-total="connections"]', "1")
    page.click("#list tbody a")
    page.until_text("#state", "connected")

    page.press("Revoke …")
    page.fill("Reason", "it is a test")
    page.click("dialog button.danger")
    assert closing(other) == 4008
    page.until_text("#state", "ended")
    page.go("connections/")
    page.until_text('[data-total="connections"]', "5")
    page.go("audit/")
    page.until("document.querySelector('main').textContent.includes('revocation')")


def test_a_token_is_revoked_and_nobody_else(page: PlaywrightPage, there: Population) -> None:
    there.requests()
    socket = there.tokens("revoked")
    page.go("connections/")
    page.fill("Identity", "revoked")
    page.until_text('[data-total="connections"]', "1")
    page.click("#list tbody a")
    page.until_text("#state", "connected")

    page.press("Revoke …")
    assert page.texts("dialog option") == ["its token, revoked", "its network address, 127.0.0.1"]
    page.click("dialog button.danger")
    assert closing(socket) == 4008
    page.until_text("#state", "ended")
    page.go("connections/")
    page.until_text('[data-total="connections"]', "1")


FRAMES = {
    "tokens": ("Echo:echo", "echo"),
    "rooms": (json.dumps(["CLIENTS", {"room": "room"}]), '"CLIENTS"'),
    "events": ('{"type": "connection"}', '"connection"'),
    "requests": ("token:token", '"REPLY"'),
    "sessions": ('{"action": "REQUESTED"}', '"OK"'),
}


def test_a_client_of_each_protocol_is_traced(page: PlaywrightPage, there: Population) -> None:
    page.go("trace/?kind=network&value=127.0.0.1")
    page.steps(["getByLabel", "show"], ["check"])
    page.press("Follow")
    page.until("document.querySelector('#state').innerText.startsWith('Following ')")
    there.clients()

    def rows() -> list[list[str]]:
        found = "[...row.cells].map((cell) => cell.textContent)"
        script = f"[...document.querySelectorAll('#frames tr')].map((row) => {found})"
        return [list(map(str, row)) for row in page.run(script)]

    def is_shown(protocol: str, way: str, body: str) -> bool:
        return any(row[3] == protocol and row[1].endswith(way) and body in row[6] for row in rows())

    for protocol, (sent, received) in FRAMES.items():
        wait_until(partial(is_shown, protocol, "in", sent))
        wait_until(partial(is_shown, protocol, "out", received))
    assert closed_with(page, there.sockets["tokens"]) == "close 1000"


def closed_with(page: PlaywrightPage, socket: ClientConnection) -> str:
    """What the trace says when the first client leaves; others may be sent something behind that."""
    socket.close()
    said = "[...document.querySelectorAll('#frames tr td:nth-child(6)')].map((cell) => cell.textContent)"
    page.until(f"{said}.some(Boolean)")
    return str(page.run(f"{said}.find(Boolean)"))


def test_a_worker_that_is_killed_is_seen_to_be_gone(
    page: PlaywrightPage, pair: Pair, server: ServerFactory
) -> None:
    shared = {"DATABASE_URL": pair[0].database_url, "REDIS_URL": pair[0].env["REDIS_URL"]}
    victim = server(**shared)
    title = f"pid {victim.pid}"
    card = f"[...document.querySelectorAll('.worker')].find((one) => one.innerText.includes('{title}'))"
    page.until(f"{card}?.dataset.state === 'serving'")
    victim.kill()

    page.until(f"{card}?.dataset.state === 'gone'")
    page.until("document.querySelector('#events [data-kind=worker_gone]') !== null")
