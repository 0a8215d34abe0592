"""`serve` that cannot start: one line that names the obstacle, and an exit code that is not 0."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ServerFactory
from tests.services import prestarted
from tests.services.ports import LOOPBACK, free_port
from tests.services.server import Server

pytestmark = pytest.mark.once


@pytest.fixture
def new_interpreter() -> Iterator[None]:
    """The command as an operator gives it."""
    with prestarted.off():
        yield


def fails_with(server: Server) -> str:
    """Start a server that must fail, and return the one line it says."""
    server.launch()
    assert server.process.wait(60) not in (0, None)
    lines = server.log_text().strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.usefixtures("new_interpreter")
def test_a_port_in_use(server: ServerFactory) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = fails_with(server(start=False, PORT=str(port)))
    assert f"port {port} on {LOOPBACK}" in line


def test_an_address_of_another_machine(server: ServerFactory) -> None:
    assert "HOST" in fails_with(server(start=False, HOST="192.0.2.1"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOST", "no such host"),
        ("WORKERS", "0"),
        ("DATABASE_URL", "oracle://somewhere/else"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TLS_CERT", "/no/such/file.pem"),
    ],
)
def test_a_wrong_setting_is_named(server: ServerFactory, name: str, value: str) -> None:
    assert name in fails_with(server(start=False, **{name: value}))


@pytest.mark.usefixtures("new_interpreter")
def test_neither_daphne_nor_twisted_is_loaded(server: ServerFactory) -> None:
    """Twisted would be a tenth of a second of each start, and 10 MB of each worker."""
    one = server(PYTHONPROFILEIMPORTTIME="1")  # Python writes a line for each module to stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in one.log_text().splitlines()}
    assert {"django", "httptools", "switchboard_server"} <= loaded
    assert not {"daphne", "twisted", "autobahn", "zope"} & loaded


def test_more_workers_than_one_without_redis(server: ServerFactory) -> None:
    line = fails_with(server(start=False, WORKERS="2", REDIS_URL=""))
    assert "REDIS_URL" in line
    assert "WORKERS" in line


def test_a_redis_that_does_not_answer(server: ServerFactory) -> None:
    url = f"redis://:secret@{LOOPBACK}:{free_port()}/0"
    line = fails_with(server(start=False, REDIS_URL=url))
    assert "REDIS_URL" in line
    assert url.rpartition("@")[2] in line
    assert "secret" not in line


def test_a_postgres_that_does_not_answer(server: ServerFactory) -> None:
    port = free_port()
    line = fails_with(server(start=False, DATABASE_URL=f"postgres://user:secret@{LOOPBACK}:{port}/name"))
    assert "DATABASE_URL" in line
    assert f"{LOOPBACK}:{port}/name" in line
    assert "secret" not in line


def test_a_database_that_is_not_one(server: ServerFactory, tmp_path: Path) -> None:
    file = tmp_path / "notes.sqlite3"
    file.write_text("These are notes, not a database. " * 100)
    line = fails_with(server(start=False, DATABASE_URL=f"sqlite:///{file}"))
    assert "DATABASE_URL" in line
    assert str(file) in line


def test_a_database_where_no_file_can_be(server: ServerFactory, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    line = fails_with(server(start=False, DATABASE_URL=f"sqlite:///{tmp_path}/file/switchboard.sqlite3"))
    assert "DATABASE_URL" in line


@pytest.mark.parametrize("arguments", [["--port", "x"], ["--no-such-option"], ["--config", "/no/such.conf"]])
def test_a_wrong_option(server: ServerFactory, arguments: list[str]) -> None:
    wrong: Any = server("serve", *arguments, start=False)
    wrong.launch()
    assert wrong.process.wait(60) not in (0, None)
    assert arguments[0] in wrong.log_text()
    assert "Traceback" not in wrong.log_text()
