"""A throwaway PostgreSQL server."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

import psycopg

from tests.services.ports import LOOPBACK, free_port
from tests.services.process import Process

OLDEST: Final = 15
_NAME: Final = "switchboard"

# Nothing here outlives the machine, so nothing has to reach the disk. `synchronous_commit` stays on: what was
# committed survives a crash of the server, and tests rely on that.
_SETTINGS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "400",
    "shared_buffers": "64MB",
    "unix_socket_directories": "",
    "listen_addresses": LOOPBACK,
}


def find_postgres() -> Path | None:
    """The folder with `initdb` and `postgres` of the newest version that is 15 or newer, or None."""
    candidates = [path for path in _folders() if _version(path) >= OLDEST]
    return max(candidates, key=_version, default=None)


class Postgres:
    """One PostgreSQL cluster on a free port, in a temporary folder of its own; a context manager.

    It refuses to run as root, so root starts it as the user `postgres`, or `nobody` where there is none.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._user = _unprivileged_user()
        self.folder = Path(tempfile.mkdtemp(prefix="switchboard-postgres-"))
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The running process."""
        assert self._process is not None, "PostgreSQL has not been started"
        return self._process

    def url(self, database: str = "postgres") -> str:
        """`postgres://` address of a database in this cluster."""
        return f"postgres://{_NAME}@{LOOPBACK}:{self.port}/{database}"

    def start(self) -> None:
        """Make the cluster and wait until it answers; `StartError` otherwise."""
        binaries = find_postgres()
        if binaries is None:
            raise FileNotFoundError(f"PostgreSQL {OLDEST} or newer is not installed")
        if self._user:
            shutil.chown(self.folder, self._user)
        self._initialise(binaries)
        self.serve()

    def serve(self) -> None:
        """Start the server on the cluster; also again after `stop` or `kill`."""
        binaries = find_postgres()
        assert binaries is not None
        options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        command: list[str | Path] = [
            binaries / "postgres",
            "-D",
            self.folder / "data",
            "-p",
            str(self.port),
            *options,
        ]
        self._process = Process(command, log=self.folder / "log", cwd=self.folder, user=self._user)
        self._process.wait_until(self._answers)

    def stop(self) -> None:
        """End it as an operator would: open connections are cut."""
        self.process.stop(signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash would: at once, and the next start has to recover."""
        self.process.stop(signal.SIGQUIT)

    def _initialise(self, binaries: Path) -> None:
        options = f"--username={_NAME} --auth=trust --encoding=UTF8 --locale=C --no-sync".split()
        command: list[str | Path] = [binaries / "initdb", "-D", self.folder / "data", *options]
        process = Process(command, log=self.folder / "log", cwd=self.folder, user=self._user)
        if process.wait(60) != 0:
            raise RuntimeError(f"initdb failed:\n{process.log_text()}")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None and self._process.exit_code is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _folders() -> list[Path]:
    """Possible places of the server's binaries: Debian's folders, `pg_config`'s answer, the PATH."""
    folders = list(Path("/usr/lib/postgresql").glob("*/bin"))
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        folders.append(Path(answer.stdout.strip()))
    if initdb := shutil.which("initdb"):
        folders.append(Path(initdb).parent)
    return [path for path in folders if (path / "initdb").exists() and (path / "postgres").exists()]


def _version(folder: Path) -> int:
    answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"\) (\d+)", answer.stdout)
    return int(match[1]) if match else 0


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
