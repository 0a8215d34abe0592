"""EventSource in a real browser, through a proxy that cuts: each message comes once, and in order."""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conftest import ServerFactory
from tests.faults.proxy import Proxy
from tests.services.browser import Browser, Tab
from tests.services.server import Server
from tests.stream.conftest import publish

# The stack is chosen by each test: one process alone, and two workers.
pytestmark = pytest.mark.once

COUNT = 150
OPEN = """
window.events = [];
window.gaps = [];
window.opened = 0;
const source = window.source = new EventSource(URL);
source.onopen = () => window.opened += 1;
source.onmessage = (event) => events.push({ ...JSON.parse(event.data), id: event.lastEventId });
source.addEventListener("gap", (event) => gaps.push(JSON.parse(event.data)));
"""


async def page_of(browser: Browser, port: int, server: Server, *addresses: str, query: str = "") -> Tab:
    """A page of the server's own, with an EventSource that is open."""
    page = await browser.tab(f"http://127.0.0.1:{port}/health/live")
    named = "&".join(f"address={address}" for address in addresses)
    url = f"/api/stream?{named}&key={server.api_key}{query}"
    await page.run(OPEN.replace("URL", repr(url)))
    await page.until("window.opened === 1")
    return page


async def cut(proxy: Proxy, page: Tab) -> None:
    """Reset the browser's connections, and wait until its EventSource is back."""
    opened = await page.run("window.opened")
    assert await asyncio.to_thread(proxy.cut) > 0
    await page.until(f"window.opened > {opened}")


async def publish_and_cut(
    server: Server, proxy: Proxy, page: Tab, addresses: list[str], seed: int, cuts: int
) -> None:
    """Publish numbers to one address or to both, while the browser is cut off at random."""
    chance = random.Random(seed)
    done = asyncio.Event()

    async def publish_all() -> None:
        for number in range(COUNT):
            some = addresses if chance.random() < 0.2 else [chance.choice(addresses)]
            await asyncio.to_thread(publish, server, number, *some)
            await asyncio.sleep(chance.random() / 50)
        done.set()

    publishing = asyncio.create_task(publish_all())
    for _ in range(cuts):
        await asyncio.sleep(chance.random() / 5)
        await cut(proxy, page)
    await publishing
    assert done.is_set()


async def received(page: Tab, count: int) -> list[dict[str, Any]]:
    await page.until(f"window.events.length >= {count}")
    events: list[dict[str, Any]] = await page.run("window.events")
    return events


async def check_all(page: Tab, addresses: list[str]) -> None:
    """Each message has come once, and those of each address in the order of their offsets."""
    events = await received(page, COUNT)
    assert sorted(event["message"] for event in events) == list(range(COUNT))
    for address in addresses:
        offsets = [event["offset"] for event in events if event["address"] == address]
        assert offsets == sorted(set(offsets))
    assert await page.run("window.gaps") == []


async def test_each_message_comes_once_and_in_order_through_a_network_that_cuts(
    browser: Browser, server: ServerFactory
) -> None:
    broker = await asyncio.to_thread(server, REDIS_URL="", HISTORY_SIZE="1000")
    addresses = [f"token:{secrets.token_hex(4)}" for _ in range(2)]
    with Proxy(broker.port) as proxy:
        page = await page_of(browser, proxy.port, broker, *addresses)
        await publish_and_cut(broker, proxy, page, addresses, seed=1, cuts=4)
        await check_all(page, addresses)

        # A graceful restart is a cut like any other.
        opened = await page.run("window.opened")
        assert await asyncio.to_thread(broker.stop) == 0
        await asyncio.to_thread(broker.start)
        await asyncio.to_thread(publish, broker, "after", addresses[0])
        await page.until(f"window.opened > {opened}")
        assert (await received(page, COUNT + 1))[-1]["message"] == "after"
        assert await page.run("window.gaps") == []

        # After a crash the memory is gone, and the page is told so.
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        await page.until("window.gaps.length === 1")
        assert await page.run("window.gaps[0].addresses") == addresses


async def test_a_client_that_is_cut_before_its_first_message_recovers(
    browser: Browser, server: ServerFactory
) -> None:
    """A block that has an id and no data is no event, and still sets the last event id."""
    broker = await asyncio.to_thread(server, REDIS_URL="", HISTORY_SIZE="10")
    address = f"token:{secrets.token_hex(4)}"
    with Proxy(broker.port) as proxy:
        page = await page_of(browser, proxy.port, broker, address)
        # The beginning is there once another stream of the page has read its own.
        await asyncio.to_thread(publish, broker, "elsewhere", f"{address}-other")
        other = f"new EventSource('/api/stream?address={address}-other&last=1&key={broker.api_key}')"
        await page.run(f"new Promise((resolve) => {other}.onmessage = resolve).then(() => 1)")
        await asyncio.to_thread(proxy.down)
        await asyncio.to_thread(publish, broker, "missed", address)
        proxy.heal()
        assert [event["message"] for event in await received(page, 1)] == ["missed"]
        assert await page.run("window.gaps") == []


async def test_two_workers_are_one_to_a_browser_that_is_cut_off(
    browser: Browser, server: ServerFactory, redis_url: str
) -> None:
    broker = await asyncio.to_thread(server, WORKERS="2", REDIS_URL=redis_url, HISTORY_SIZE="1000")
    addresses = [f"token:{secrets.token_hex(4)}" for _ in range(2)]
    with Proxy(broker.port) as proxy:
        page = await page_of(browser, proxy.port, broker, *addresses)
        await publish_and_cut(broker, proxy, page, addresses, seed=2, cuts=4)
        await check_all(page, addresses)

        # Workers that are replaced one after the other end their streams in order.
        opened = await page.run("window.opened")
        broker.process.send(signal.SIGHUP)
        await page.until(f"window.opened > {opened}")
        await asyncio.to_thread(publish, broker, "after", addresses[0])
        assert (await received(page, COUNT + 1))[-1]["message"] == "after"
        assert await page.run("window.gaps") == []


@pytest.fixture
def site() -> Iterator[int]:
    """The port of a site that has one empty page, at 127.0.0.1 and at localhost."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield http.server_port
        http.shutdown()


async def test_a_page_of_another_site_reads_where_it_is_admitted(
    browser: Browser, server: ServerFactory, site: int
) -> None:
    admitted, other = f"http://localhost:{site}", f"http://127.0.0.1:{site}"
    broker = await asyncio.to_thread(server, REDIS_URL="", STREAM_ORIGINS=f"self,{admitted}")
    script = OPEN.replace("URL", f"'{broker.url}/api/stream?address=channel:a&key={broker.api_key}'")
    page, refused = await browser.tab(admitted), await browser.tab(other)
    await page.run(script)
    await refused.run(script)
    await page.until("window.opened === 1")
    await refused.until("window.source.readyState === EventSource.CLOSED")
    await asyncio.to_thread(publish, broker, "hello", "channel:a")
    [event] = await received(page, 1)
    assert (event["message"], event["offset"]) == ("hello", None)
    assert await refused.run("window.opened") == 0
