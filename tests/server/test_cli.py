"""Every option of Daphne's command line keeps its meaning under `serve`."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import socket
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from daphne.cli import CommandLineInterface
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import ConnectionClosed

from switchboard_server.cli import CommandLine
from tests.conftest import ServerFactory
from tests.server.plain import closed_with
from tests.services.ports import LOOPBACK, answers, free_port
from tests.services.server import Server
from tests.services.waiting import until

pytestmark = pytest.mark.once


def options_of(parser: argparse.ArgumentParser) -> dict[str, tuple[Any, ...]]:
    return {
        option: (action.dest, action.default, action.type, action.const, type(action))
        for action in parser._actions
        for option in action.option_strings
        if option not in ("-h", "--help")
    }


def test_no_option_of_daphne_is_missing_or_has_another_meaning() -> None:
    theirs, ours = options_of(CommandLineInterface().parser), options_of(CommandLine().parser)
    assert {name: ours.get(name) for name in theirs} == theirs


def launched(server: ServerFactory, *arguments: str, port: int, **options: str) -> Server:
    """A server that listens where its arguments say, and not where its settings do."""
    one: Server = server("serve", *arguments, start=False, **options)
    one.launch()
    one.process.wait_until(lambda: answers(port))
    return one


def head(connection: http.client.HTTPConnection, path: str, **headers: str) -> http.client.HTTPResponse:
    with closing(connection):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
        return response


class OverUnix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


async def test_sockets_names_logs_and_proxies_as_daphne_knows_them(
    server: ServerFactory, tmp_path: Path
) -> None:
    port, path, log = free_port(), tmp_path / "socket", tmp_path / "access"
    one = launched(
        server,
        *("--unix-socket", str(path), "--endpoint", f"tcp:port={port}:interface={LOOPBACK}"),
        *("--access-log", str(log), "--root-path", "/base", "--server-name", "named"),
        *("--proxy-headers", "--proxy-headers-host", "X-Real-IP", "--proxy-headers-port", "X-Real-Port"),
        port=port,
        TRUSTED_PROXIES=LOOPBACK,
    )
    proxied = {"X-Real-IP": "192.0.2.7", "X-Real-Port": "4711", "X-Forwarded-For": "192.0.2.9"}

    def ask() -> None:
        response = head(http.client.HTTPConnection(LOOPBACK, port, timeout=60), "/admin/", **proxied)
        assert response.status == 302
        assert response.headers["Location"].startswith("/base/admin/")
        assert response.headers["Server"] == "named"
        assert head(OverUnix(path), "/health/live").status == 200

    await asyncio.to_thread(ask)
    async with unix_connect(str(path), "ws://localhost/ws", compression=None) as client:
        await client.ping()
    assert "192.0.2.7:4711" in log.read_text()
    assert "192.0.2.9" not in log.read_text()
    assert not answers(one.port)


async def test_timeouts_and_sizes_as_daphne_knows_them(server: ServerFactory) -> None:
    port = free_port()
    launched(
        server,
        *("--bind", LOOPBACK, "-p", str(port), "--no-server-name", "--websocket_timeout", "5"),
        *("--websocket-max-message-size", "100", "--websocket-max-frame-size", "100"),
        *("--http-timeout", "60", "--application-close-timeout", "5", "--websocket_connect_timeout", "60"),
        *("--ping-interval", "5", "--ping-timeout", "5", "--log-fmt", "%(message)s", "-v", "0"),
        port=port,
    )
    response = await asyncio.to_thread(
        head, http.client.HTTPConnection(LOOPBACK, port, timeout=60), "/health/live"
    )
    assert "Server" not in response.headers

    async def size_ends() -> bool:
        """On a machine that stops meanwhile the socket may be too old when it is read."""
        async with connect(f"ws://{LOOPBACK}:{port}/ws", compression=None) as large:
            with suppress(ConnectionClosed):
                await large.send("x" * 101)
            return await closed_with(large) == 1009

    await until(size_ends)
    async with connect(f"ws://{LOOPBACK}:{port}/ws", compression=None) as old:
        assert await closed_with(old) == 1000


async def test_bind_is_the_only_place_that_is_listened_at(server: ServerFactory) -> None:
    """As an option of its own it would leave the socket of the settings open beside it."""
    one = server("serve", "--bind", "127.0.0.2", start=False)
    one.launch()
    one.process.wait_until(lambda: "Switchboard listens on" in one.log_text())
    assert f"127.0.0.2:{one.port}" in one.log_text()
    assert not answers(one.port)
