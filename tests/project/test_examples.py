"""README.md's examples as they are printed: snippets in a real browser, commands in a real shell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.request import Request, urlopen

import pytest
from django.conf import settings

from tests.documents.blocks import ALL
from tests.services.browser import Browser, Tab
from tests.services.databases import ADMIN_PASSWORD, REPOSITORY, Databases
from tests.services.server import Server
from tests.services.waiting import until

# The README speaks of the server that `make run` starts, which has a stack of its own.
# A browser and some processes have to start, which takes a busy machine its time.
pytestmark = pytest.mark.once

SOCKET_IO = (
    REPOSITORY / "tests" / "interop" / "node_modules" / "socket.io-client-4.8" / "dist" / "socket.io.js"
)
RECORD = """
var said = [];
console.log = (...words) => said.push(words.map((word) => word?.at ? word : JSON.stringify(word)).join(" "));
"""
LOG_IN = f"""
document.querySelector("#id_username").value = "admin";
document.querySelector("#id_password").value = "{ADMIN_PASSWORD}";
document.querySelector("#login-form").submit();
"""
PROGRAMS = {
    ".venv/bin/python": sys.executable,
    ".venv/bin/switchboard": f"{sys.executable} -m switchboard_client.cli",
}


def blocks(protocol: str, language: str) -> list[str]:
    """The examples of one protocol in one language, in order."""
    found = [block for block in ALL["README.md"] if block.section == f"Try the {protocol} protocol"]
    return [block.text for block in found if block.language == language]


class Page:
    """A tab on the server's console page, and what its scripts have logged."""

    def __init__(self, tab: Tab, server: Server) -> None:
        self.tab = tab
        self._server = server

    async def run(self, snippet: str, **blanks: str) -> None:
        """Run a snippet with its blanks filled in, as a browser's console does."""
        for name, value in {"KEY": self._server.api_key, **blanks}.items():
            snippet = snippet.replace(f"<{name}>", value)
        await self.tab.run(f"(async () => {{\n{_elsewhere(snippet, self._server)}\n}})()")

    async def says(self, text: str) -> None:
        """Wait until a line that holds a text was logged."""
        await self.tab.until(f"said.some((line) => line.includes({json.dumps(text)}))")


def shell(server: Server, commands: str) -> str:
    """Run commands in the repository's folder; what they have printed."""
    commands = "\n".join(line for line in commands.splitlines() if "/pip install" not in line)
    for program, here in PROGRAMS.items():
        commands = commands.replace(program, here)
    env = server.env | {
        "KEY": server.api_key,
        "PYTHONPATH": str(REPOSITORY / "clients" / "python"),
        "SWITCHBOARD_URL": f"{server.ws_url}/connection",
    }
    done = subprocess.run(
        ["sh", "-ec", _elsewhere(commands, server)],
        cwd=REPOSITORY,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _json_and_rest(output: str) -> tuple[Any, str]:
    value, end = json.JSONDecoder().raw_decode(output)
    return value, output[end:].strip()


def _elsewhere(example: str, server: Server) -> str:
    """The example for this server's port."""
    return example.replace("localhost:8000", server.url.removeprefix("http://"))


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = databases.create()
    # A session of a terminal, which nobody plays, has to last until a page has asked for another one.
    options = {"DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL, "SESSIONS_BIND_SECONDS": "600"}
    server = Server(tmp_path_factory.mktemp("readme"), options)
    try:
        server.start()
        yield server
    finally:
        server.close()
        databases.drop(url)


@pytest.fixture
async def page(browser: Browser, broker: Server) -> Page:
    """A new tab where the README says that snippets go."""
    tab = await browser.tab(f"{broker.url}/admin/login/?next=/console/")
    await tab.run(LOG_IN)
    await tab.until("document.body?.dataset.page === 'overview'")
    await tab.run(RECORD)
    return Page(tab, broker)


@pytest.mark.parametrize("protocol", ["tokens", "sessions", "rooms", "events", "requests", "stream"])
async def test_every_protocol_has_a_snippet_and_a_command(protocol: str) -> None:
    assert blocks(protocol, "js")
    assert blocks(protocol, "sh")


async def test_the_tokens_protocol(page: Page, broker: Server) -> None:
    await page.run(blocks("tokens", "js")[0])
    await page.says("Hello")

    assert json.loads(shell(broker, blocks("tokens", "sh")[0]))["ok"]
    await page.says("Hello from a terminal")


async def test_the_sessions_protocol(page: Page, broker: Server) -> None:
    [commands] = blocks("sessions", "sh")
    answer, token = _json_and_rest(shell(broker, commands))
    assert answer["sessionName"] == "TV"

    await page.run(blocks("sessions", "js")[0], TOKEN=token)
    await page.says('{"action":"OK"}')

    again = commands.replace(commands.splitlines()[0], f"TOKEN={token}")  # a token takes a process to make
    refused, _ = _json_and_rest(shell(broker, again))
    assert refused["code"] == "LimitExceeded"
    assert {one["name"] for one in refused["details"]["activeSessions"]} == {"TV", "Phone"}


async def test_the_rooms_protocol(page: Page, broker: Server) -> None:
    plain, socket_io = blocks("rooms", "js")
    await page.run(plain)
    if SOCKET_IO.exists():
        await page.tab.run(SOCKET_IO.read_text(encoding="utf-8"))
        await page.run(socket_io)
        await page.says("I am in")

    assert shell(broker, blocks("rooms", "sh")[0]) == "OK"
    await page.says("Hello from a terminal")


async def test_the_events_protocol(page: Page, broker: Server) -> None:
    await page.run(blocks("events", "js")[0])
    await page.says('{"text":"Hello"}')

    assert json.loads(shell(broker, blocks("events", "sh")[0]))["delivered_to"] >= 1
    await page.says("Hello from a terminal")


async def test_the_requests_protocol(page: Page, broker: Server) -> None:
    await page.run(blocks("requests", "js")[0])
    await page.says('"message":"Hello"')

    assert json.loads(shell(broker, blocks("requests", "sh")[0]))["delivered_to"] >= 1
    await page.says("Hello from a terminal")


async def test_the_stream_protocol(page: Page, broker: Server) -> None:
    reading, publishing = blocks("stream", "sh")
    await page.run(blocks("stream", "js")[0])
    with _running(broker, reading) as lines:
        assert lines.readline() == "retry: 1000\n"
        await until(lambda: _streams(broker) == 2)
        assert json.loads(shell(broker, publishing))["delivered_to"] == 2
        await page.says("Hello from a terminal")
        while '"message":"Hello from a terminal"' not in (line := lines.readline()):
            assert line


@contextmanager
def _running(broker: Server, command: str) -> Iterator[IO[str]]:
    """What a command prints that does not end by itself."""
    words = ["sh", "-ec", f"exec {_elsewhere(command, broker)}"]
    env = broker.env | {"KEY": broker.api_key}
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.terminate()


def _streams(broker: Server) -> int:
    request = Request(f"{broker.url}/api/clients/?protocol=stream", headers={"X-API-Key": broker.api_key})
    with urlopen(request, timeout=60) as answer:
        return int(json.load(answer)["count"])
