"""The throwaway servers do what the tests rely on: they start, are private, and end without a trace."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from tests.services.ports import answers, free_port
from tests.services.postgres import Postgres
from tests.services.process import Process, StartError, runs
from tests.services.redis import Redis
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once


def test_free_port_is_free_and_out_of_reach_of_outgoing_connections() -> None:
    ports = {free_port() for _ in range(50)}

    assert not any(answers(port) for port in ports)
    assert all(port < 32768 for port in ports)


def test_process_that_ends_early_is_reported_with_its_log(tmp_path: Path) -> None:
    process = Process([sys.executable, "-c", "print('the reason'); exit(3)"], log=tmp_path / "log")

    with pytest.raises(StartError, match=r"(?s)exit code 3.*the reason"):
        process.wait_until(lambda: False)


def test_process_that_never_gets_ready_is_reported(tmp_path: Path) -> None:
    process = Process([sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "log")

    with pytest.raises(StartError, match=r"not ready after 0\.1 s"):
        process.wait_until(lambda: False, seconds=0.1)
    assert process.stop() == -signal.SIGTERM


def test_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    process = Process([sys.executable, "-c", code], log=tmp_path / "log")
    process.wait_until(lambda: "deaf" in process.log_text())

    assert process.stop(seconds=0.2) == -signal.SIGKILL


def test_children_of_a_crashed_process_end_with_its_session(tmp_path: Path) -> None:
    code = "import os, time; os.fork() or print(os.setpgrp() or os.getpid(), flush=True); time.sleep(60)"
    process = Process([sys.executable, "-c", code], log=tmp_path / "log")
    process.wait_until(lambda: process.log_text().endswith("\n"))
    child = int(process.log_text())
    process.kill()
    assert runs(child)

    process.kill_session()

    wait_until(lambda: not runs(child))


def test_a_process_that_goes_while_it_is_looked_at_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is open then, and the kernel knows nothing to read in it."""

    def read(path: Path) -> str:
        with path.open() as file:
            process.kill()
            process.wait()
            return file.read()

    process = subprocess.Popen(["sleep", "600"])
    monkeypatch.setattr(Path, "read_text", read)

    assert not runs(process.pid)


def test_redis_forgets_everything_between_stop_and_start(tmp_path: Path) -> None:
    with Redis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("key", "value")
        server.stop()
        assert not answers(server.port)
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("key") is None
    assert not answers(server.port)
    assert {path.suffix for path in tmp_path.iterdir()} == {".log"}


def test_postgres_recovers_from_a_crash_and_leaves_nothing_behind() -> None:
    with Postgres() as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
            server.kill()
        server.serve()
        with psycopg.connect(server.url()) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
        folder = server.folder
        assert folder.exists()
    assert not answers(server.port)
    assert not folder.exists()


def test_postgres_that_cannot_start_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Postgres()
    with Redis(server.folder) as occupant:
        monkeypatch.setattr(server, "port", occupant.port)
        with pytest.raises(StartError, match="could not bind"):
            server.__enter__()
    assert not server.folder.exists()
