"""The JavaScript client in a real browser: its bundle, on the example's page, which another site serves."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from switchboard_client import connect

from tests.requests.serving import serving
from tests.services.browser import Browser
from tests.services.databases import Databases
from tests.services.javascript import require_packages
from tests.services.server import Server

# The client is under test here; its requests are tested on both stacks without a browser.
pytestmark = pytest.mark.once


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The example and a fresh bundle, as a web site of its own."""
    client = require_packages("clients/js")
    tmp_path = tmp_path_factory.mktemp("site")
    shutil.copytree(client / "example", tmp_path / "example")
    bundle = f"--outfile={tmp_path / 'dist' / 'switchboard.js'}"
    command = ["npx", "--no-install", "esbuild", "src/index.js", "--bundle", "--format=iife"]
    flags = ["--global-name=switchboard", "--target=es2020", "--log-level=warning", bundle]
    subprocess.run([*command, *flags], cwd=client, check=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture(scope="module")
def broker(site: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that admits the site by its one name, not by another."""
    with serving(databases, tmp_path_factory, REQUESTS_ORIGINS=f"self,{site}") as server:
        yield server


async def test_the_example_in_a_browser(browser: Browser, broker: Server, site: str) -> None:
    url = f"{broker.ws_url}/connection"
    async with await connect(url, key=broker.api_key) as other:
        page = await browser.tab(f"{site}/example/index.html")
        await page.run(f"""
            document.querySelector("[name=url]").value = "{url}";
            document.querySelector("[name=key]").value = "{broker.api_key}";
            document.getElementById("connect").requestSubmit();
        """)
        await page.until("document.getElementById('state').textContent === 'connected'")
        await other.publish(["channel:example"], {"from": "python"})
        await page.until("document.getElementById('received').children.length === 1")
        await page.run("""
            document.querySelector("[name=message]").value = "from the page";
            document.getElementById("publish").requestSubmit();
        """)
        await page.until("document.getElementById('received').children.length === 2")
        received = "[...document.querySelectorAll('#received li')].map((item) => item.textContent)"
        assert await page.run(received) == ['{"from":"python"}', '"from the page"']


async def test_the_client_in_a_browser(browser: Browser, broker: Server, site: str) -> None:
    url = f"{broker.ws_url}/connection"
    script = """(async () => {
        const connection = await switchboard.connect(URL);
        connection.on("request", "double", (context) => context.reply({ twice: 2 * context.message.x }));
        const partials = [];
        const request = connection.request({ type: "question" });
        for await (const partial of request) partials.push(partial.message.n);
        const reply = await request;
        const error = await connection.request({ type: "fail" }).catch((error) => error);
        const back = await connection.request({ type: "ask me", ask: { type: "double", x: 21 } });
        await connection.send({ type: "note", text: "with a receipt" });
        const binary = await connection.request({ type: "echo", n: 1 }, { binary: true });
        const again = new Promise((resolve) => connection.on("reconnect", resolve));
        await connection.request({ type: "close me", code: 4200, reason: "back" });
        await again;
        await connection.close(4999, "done");
        const { code } = await connection.closed;
        return [partials, reply.message.answer, error.code, back.message.got.twice, binary.message.n, code];
    })()""".replace("URL", repr(url))
    page = await browser.tab(f"{site}/example/index.html")
    assert await page.run(script) == [[1, 2], "ok", 7, 42, 1, 4999]


async def test_a_page_of_another_site_cannot_connect(browser: Browser, broker: Server, site: str) -> None:
    page = await browser.tab(f"{site.replace('127.0.0.1', 'localhost')}/example/index.html")
    script = f"switchboard.connect('{broker.ws_url}/connection').then(() => 0, (error) => error.code)"
    assert await page.run(script) == 1006
    assert "REQUESTS_ORIGINS would admit it" in broker.log_text()
