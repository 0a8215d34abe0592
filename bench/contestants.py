"""The servers that are measured: how each is started, and how to speak to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.load import Dialect, compiled
from bench.machine import SERVER_CORE, family, on_core
from bench.section import Unavailable
from tests.services.databases import REPOSITORY
from tests.services.ports import LOOPBACK, answers, free_port
from tests.services.process import Process, StartError
from tests.services.server import Server

if TYPE_CHECKING:
    from bench.bench import Bench


@dataclass(frozen=True)
class Running:
    """A contestant that runs. `roots` are the processes that were started for it."""

    port: int
    roots: Sequence[int]
    broadcast: Dialect
    """One sends, all receive."""
    echo: Dialect
    """One sends, and receives it itself."""
    server: Server | None = None
    """Of Switchboard: its settings and its API key."""
    publishing_port: int | None = None
    """The port of publishers, if it is not `port`."""

    def pids(self) -> list[int]:
        """All processes of the contestant, Redis included where it was started for it."""
        return family(self.roots)


Start = Callable[["Bench"], AbstractContextManager[Running]]
"""Runs a server on the server's core for the time of a context. Raises Unavailable where it cannot."""


@dataclass(frozen=True)
class Contestant:
    """A server, by the name it has in tables."""

    label: str
    start: Start


TOKENS: Final = Dialect("/ws?RegisterToken=load", before="load|")
TOKENS_ECHO: Final = Dialect("/ws?RegisterToken=load", before="Echo:")

_ENGINE_IO: Final = "/socket.io/?EIO=4&transport=websocket"
_SOCKET_IO_STEPS: Final = (("expect", "0"), ("send", "40"), ("expect", "40"))


def switchboard(runner: str, *arguments: str, **options: str) -> Start:
    """Switchboard under `serve`, `daphne` or `uvicorn`, on a fresh SQLite file unless options name one."""

    @contextmanager
    def start(bench: Bench) -> Iterator[Running]:
        url = options.get("DATABASE_URL") or bench.databases.create()
        server = Server(bench.new_folder(), {**options, "DATABASE_URL": url}, runner, *arguments)
        try:
            with on_core(SERVER_CORE):
                server.start()
            yield Running(server.port, [server.pid], TOKENS, TOKENS_ECHO, server)
        except StartError as error:
            raise Unavailable(f"did not start: {str(error).splitlines()[-1]}") from None
        finally:
            server.close()
            if "DATABASE_URL" not in options:
                bench.databases.drop(url)

    return start


def through_redis(runner: str, **options: str) -> Start:
    """Two workers that share a database and a Redis: one for receivers, one for publishers."""

    @contextmanager
    def start(bench: Bench) -> Iterator[Running]:
        shared = {"REDIS_URL": bench.redis.url, "DATABASE_URL": bench.databases.create(), **options}
        one = switchboard(runner, **shared)
        with one(bench) as receiving, one(bench) as publishing:
            roots = [*receiving.roots, *publishing.roots, bench.redis.process.pid]
            yield replace(receiving, roots=roots, publishing_port=publishing.port)

    return start


@contextmanager
def stock(bench: Bench) -> Iterator[Running]:
    """The consumer of Channels' tutorial under Daphne, in-memory layer."""
    port = free_port()
    daphne = [sys.executable, "-m", "daphne", "-b", LOOPBACK, "-p", str(port), "bench.stock.asgi:application"]
    broadcast = Dialect("/chat", '{"message": "', '"}')
    with _process(bench, port, daphne, DJANGO_SETTINGS_MODULE="") as process:
        yield Running(port, [process.pid], broadcast, Dialect("/echo"))


@contextmanager
def socket_io(bench: Bench) -> Iterator[Running]:
    """Socket.IO on Node, WebSocket from the first request."""
    broadcast = Dialect(_ENGINE_IO, '42["chat","', '"]', _SOCKET_IO_STEPS, ("2", "3"))
    echo = Dialect(_ENGINE_IO, '42["echo","', '"]', _SOCKET_IO_STEPS, ("2", "3"))
    with _node(bench, "socketio.js") as (port, process):
        yield Running(port, [process.pid], broadcast, echo)


@contextmanager
def python_socketio(bench: Bench) -> Iterator[Running]:
    """python-socketio under uvicorn, WebSocket from the first request."""
    port = free_port()
    application = "bench.socketio_python.asgi:application"
    uvicorn = [sys.executable, "-m", "uvicorn", "--host", LOOPBACK, "--port", str(port), application]
    dialect = Dialect(_ENGINE_IO, steps=_SOCKET_IO_STEPS, reply=("2", "3"))
    with _process(bench, port, [*uvicorn, "--log-level", "warning"]) as process:
        yield Running(port, [process.pid], dialect, dialect)


def ws(*arguments: str) -> Start:
    """The package `ws` on Node."""

    @contextmanager
    def start(bench: Bench) -> Iterator[Running]:
        with _node(bench, "ws.js", *arguments) as (port, process):
            yield Running(port, [process.pid], Dialect("/"), Dialect("/echo"))

    return start


def limit(mode: str) -> Start:
    """`c/limit.c`: one write per frame (`each`) or per connection and loop turn (`joined`)."""

    @contextmanager
    def start(bench: Bench) -> Iterator[Running]:
        port = free_port()
        with _process(bench, port, [compiled("limit", "limit.c"), str(port), mode]) as process:
            yield Running(port, [process.pid], Dialect("/"), Dialect("/"))

    return start


@contextmanager
def _node(bench: Bench, script: str, *arguments: str) -> Iterator[tuple[int, Process]]:
    folder = _installed_node_packages()
    port = free_port()
    command: list[str | Path] = ["node", folder / script, str(port), *arguments]
    with _process(bench, port, command, NODE_ENV="production") as process:
        yield port, process


def _installed_node_packages() -> Path:
    folder = Path(__file__).parent / "node"
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} not installed")
    lock, installed = folder / "package-lock.json", folder / "node_modules" / ".installed-lock.json"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            raise Unavailable("npm ci has failed")
        shutil.copy(lock, installed)
    return folder


@contextmanager
def _process(bench: Bench, port: int, command: Sequence[str | Path], **env: str) -> Iterator[Process]:
    log = bench.new_folder() / "log"
    with on_core(SERVER_CORE):
        process = Process(command, log=log, env=os.environ | env, cwd=REPOSITORY)
    try:
        process.wait_until(lambda: answers(port))
        yield process
    except StartError as error:
        raise Unavailable(f"did not start: {str(error).splitlines()[-1]}") from None
    finally:
        process.kill_session()


STOCK: Final = Contestant("Channels as documented, Daphne", stock)
DAPHNE: Final = Contestant("Switchboard, plain Daphne", switchboard("daphne"))
UVICORN: Final = Contestant("Switchboard, uvicorn", switchboard("uvicorn"))
SERVE: Final = Contestant("Switchboard, `manage.py serve`", switchboard("serve"))
SOCKET_IO: Final = Contestant("Socket.IO 4, Node", socket_io)
PYTHON_SOCKETIO: Final = Contestant("python-socketio 5, uvicorn", python_socketio)
WS: Final = Contestant("ws 8, Node", ws())
EACH: Final = Contestant("C, one write per frame", limit("each"))
JOINED: Final = Contestant("C, joined writes", limit("joined"))
