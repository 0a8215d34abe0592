"""A browser's own WebSocket and fetch against the sessions protocol, on a page of another site.

`player.js` behaves as the protocol's published reference client does; everything else is Chromium.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.conf import settings

from tests.services.browser import Browser, Tab
from tests.services.waiting import until
from tests.sessions.conftest import Broker, BrokerFactory, Customer, Visit

# What crosses Redis and databases is tested without a browser.
pytestmark = pytest.mark.once


class QuietFiles(SimpleHTTPRequestHandler):
    """Serves this folder's `player.js`, and an empty page that loads it."""

    def do_GET(self) -> None:
        if self.path != "/player.js":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>player</title><script src=/player.js></script>")
            return
        super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A site that is not the broker's."""
    handler = partial(QuietFiles, directory=str(Path(__file__).parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def house(start_broker: BrokerFactory) -> Broker:
    """A broker with a grace that a reload fits into, frequent PINGs, and more time for a PONG and a probe
    than the page needs: a machine may be slow."""
    return start_broker(
        SESSIONS_GRACE_SECONDS="25",
        SESSIONS_PING_SECONDS="6",
        SESSIONS_PONG_SECONDS="6",
        SESSIONS_PROBE_SECONDS="30",
    )


class Page:
    """A tab with a player on it."""

    def __init__(self, tab: Tab, customer: Customer, wanted: dict[str, str]) -> None:
        self.tab = tab
        arguments = json.dumps([customer.broker.server.url, customer.token, wanted])
        self._make = f"void (window.player = new Player(...{arguments}))"

    async def start(self) -> None:
        """Make the player and let it start."""
        await self.tab.run(self._make)
        await self.tab.run("void player.start()")

    async def summary(self) -> dict[str, Any]:
        """The player's own summary."""
        summary: dict[str, Any] = await self.tab.run("player.summary()")
        return summary

    async def becomes(self, state: str) -> dict[str, Any]:
        """Wait for a state of the player."""
        async with asyncio.timeout(60):
            while (summary := await self.summary())["state"] != state:
                await asyncio.sleep(0.1)
        assert summary["unknown"] == [], "a stock player knows five actions"
        return summary


Open = Callable[..., Awaitable[Page]]


@pytest.fixture
async def customer(house: Broker, visit: Visit) -> Customer:
    """A customer who may play one film at a time."""
    customer = visit(house)
    customer.limit("offer", 1)
    return customer


@pytest.fixture
async def open_page(browser: Browser, site: str, customer: Customer) -> Open:
    """Open pages, each in a tab of its own, so with a sessionStorage of its own."""

    async def open_page(name: str) -> Page:
        tab = await browser.tab()
        await tab.go(site)
        return Page(tab, customer, {"sessionName": name, "offerId": "film"})

    return open_page


async def test_player_plays_answers_pings_and_finishes(open_page: Open, customer: Customer) -> None:
    page = await open_page("TV")
    await page.start()
    await page.becomes("playing")

    async def pinged() -> bool:
        return bool((await page.summary())["log"].count("PING") >= 3)

    await until(pinged)
    assert (await page.summary())["state"] == "playing", "late PONGs are good enough"
    await page.tab.run("player.finish()")

    await until(lambda: customer.events("finished"))
    assert customer.events() == ["created", "bound", "finished"]


async def test_second_player_is_shown_the_first_and_takes_over(open_page: Open, customer: Customer) -> None:
    first, second = await open_page("TV"), await open_page("Phone")
    await first.start()
    await first.becomes("playing")

    await second.start()
    denied = await second.becomes("denied")
    assert denied["refusal"]["details"]["takeOverEnabled"] is True
    [active] = denied["refusal"]["details"]["activeSessions"]
    assert active["name"] == "TV"
    await second.tab.run(f"void player.takeOver({json.dumps(active['sessionId'])})")

    await second.becomes("playing")
    ended = await first.becomes("taken over by Phone")
    assert ended["log"][-1] in ("TAKE_OVER", "closed 4002")
    assert customer.most_at_once() == 1


def test_the_page_s_time_for_a_probe_is_that_of_a_late_answer_and_more() -> None:
    """It is sent a second after the PING has come."""
    assert settings.SESSIONS_PROBE_SECONDS >= 3


async def test_reload_uses_the_stored_endpoint_and_keeps_the_slot(
    open_page: Open, customer: Customer
) -> None:
    page = await open_page("TV")
    await page.start()
    await page.becomes("playing")

    await page.tab.reload()
    await page.start()

    summary = await page.becomes("playing")
    assert summary["creates"] == 0, "REST was not asked"
    assert customer.events() == ["created", "bound", "rebound"]


async def test_closed_tab_frees_its_slot_although_finished_is_lost(
    open_page: Open, customer: Customer
) -> None:
    first, second = await open_page("TV"), await open_page("Phone")
    await first.start()
    await first.becomes("playing")

    # It would be sent a second from now: that second does not end before the tab is closed.
    await first.tab.run("window.setInterval = () => 0; void player.finish()")
    await first.tab.close()
    await until(lambda: customer.events("expired"))
    await second.start()

    await second.becomes("playing")
    assert customer.events("finished") == []


async def test_expired_is_followed_by_one_new_session_that_plays(open_page: Open, customer: Customer) -> None:
    page = await open_page("TV")
    await page.start()
    await page.becomes("playing")
    [listed] = await customer.listed()
    await page.tab.go("about:blank")
    await customer.http.request("DELETE", f"/sessions/{listed['sessionId']}", token=customer.token)

    await page.tab.back()
    await page.tab.until("typeof Player === 'function'")
    await page.start()

    summary = await page.becomes("playing")
    assert summary["log"][:2] == ["EXPIRED", "OK"]
    assert summary["creates"] == 1
    assert customer.rows() == 1


async def test_second_tab_with_the_same_endpoint_stops_the_first(open_page: Open) -> None:
    first, second = await open_page("TV"), await open_page("TV")
    await first.start()
    await first.becomes("playing")
    endpoint = await first.tab.run("sessionStorage.getItem('ws_endpoint')")

    await second.tab.run(f"sessionStorage.setItem('ws_endpoint', {json.dumps(endpoint)})")
    await second.start()

    await second.becomes("playing")
    await first.becomes("terminated")


async def test_player_plays_where_tracking_is_disabled(
    browser: Browser, site: str, start_broker: BrokerFactory, visit: Visit
) -> None:
    broker = start_broker()
    broker.sql("UPDATE sessions_app_publisher SET tracking_enabled = %s", False)
    customer = visit(broker)
    tab = await browser.tab()
    await tab.go(site)
    page = Page(tab, customer, {"sessionName": "TV", "tag": "live"})

    await page.start()

    await page.becomes("disabled")
    assert customer.rows() == 0
