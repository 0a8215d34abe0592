"""Very many connections are listed without a page that hangs."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.console.playwright import Playwright, PlaywrightPage
from tests.monitoring.console import sessions_of
from tests.services.databases import Databases
from tests.services.ports import LOOPBACK
from tests.services.running import running
from tests.services.server import Server

pytestmark = pytest.mark.once

AT_ONCE = 50
LONGEST = 200
"""Milliseconds that one task of the page may take where `RECKON` takes USUAL of them."""
USUAL = 70
RECKON = """(() => {
    const begin = performance.now();
    let sum = 0;
    for (let number = 0; number < 10_000_000; number += 1) sum = (Math.imul(sum, 31) + number) | 0;
    return performance.now() - begin + (sum & 0);
})()"""
"""The same work each time; the milliseconds that it took."""

HANDSHAKE = (
    b"GET /ws?RegisterToken=crowd/%d HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
WATCH = f"""{{
    window.tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map((one) => one.duration)))
        .observe({{ type: "longtask", buffered: true }});
    setTimeout(() => {{  // one that is to be seen
        const end = performance.now() + 60;
        window.reckoned = {RECKON};
        while (performance.now() < end);
    }});
}}"""


@contextlib.contextmanager
def crowd(server: Server, count: int) -> Iterator[None]:
    """So many clients of tokens that say nothing, and answer no PING."""
    opened: list[socket.socket] = []
    try:
        for begin in range(0, count, AT_ONCE):
            some = [
                socket.create_connection((LOOPBACK, server.port)) for _ in range(min(AT_ONCE, count - begin))
            ]
            opened += some
            for number, one in enumerate(some, begin):
                one.sendall(HANDSHAKE % number)
            for one in some:
                assert one.recv(4096).startswith(b"HTTP/1.1 101 ")
        yield
    finally:
        for one in opened:
            one.close()


def is_used(page: PlaywrightPage, total: str) -> tuple[float, float]:
    """Load the list, sort, turn and search it; the milliseconds of the longest task, and how many may be."""
    page.go("connections/")
    page.run(WATCH)
    page.until("window.tasks.length > 0")
    page.until_text('[data-total="connections"]', total)
    assert len(page.texts("#list tbody tr")) == 50
    page.click("#list th button:has-text('Age')")
    page.press("Next")
    page.until("document.querySelector('#pager').innerText.includes('page 2 of')")
    page.fill("Search", "crowd/99")
    page.until("document.querySelector('#pager').innerText.includes('page 1 of')")
    page.fill("Search", "")
    page.until_text('[data-total="connections"]', total)
    longest: float = page.run("Math.max(...window.tasks)")
    reckoned: float = page.run(f"Math.max(window.reckoned, {RECKON})")
    return longest, LONGEST * max(1.0, reckoned / USUAL)


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_all_are_listed_and_no_task_is_long(
    count: int, playwright: Playwright, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("many")
    options = {"REDIS_URL": "", "PING_INTERVAL": "0"}  # a busy machine takes longer than a PING is waited for
    with running(databases, folder, **options) as server, crowd(server, count):
        page = playwright.open(server, sessions_of(server, root=None)["root"])
        rounds: list[tuple[float, float]] = []
        # A machine that is busy with others makes a task long now and then; the page itself would each time.
        while len(rounds) < 5 and not (rounds and rounds[-1][0] < rounds[-1][1]):
            rounds.append(is_used(page, f"{count:,}"))
        assert rounds[-1][0] < rounds[-1][1], rounds
        assert page.problems() == []
        page.close()
