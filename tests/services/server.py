"""Switchboard itself, as the processes an operator would start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from tests.services import prestarted
from tests.services.databases import ADMIN_PASSWORD, REPOSITORY
from tests.services.ports import LOOPBACK, answers, free_port
from tests.services.process import Process

API_KEY: Final = "swk_test_6cO1mBqXy3nVdT7fHk9wZr2sLp8eJg4a"
DAPHNE: Final = ("--websocket_connect_timeout", "60")
"""Options of Daphne: after five seconds it would end a handshake that waits for a slow Redis or database."""
_APPLICATION: Final = "broker_project.asgi:application"


class Server:
    """One server on a free port, with an environment of its own; `start` waits until it serves.

    `runner` is `serve` (our command), `daphne` or `uvicorn` (plain ASGI servers). `options` are settings, by
    the name of their variable; none is inherited from the environment of the tests. `within` begins the
    command of the process, whose code is in `tree`.
    """

    def __init__(
        self,
        folder: Path,
        options: Mapping[str, str],
        runner: str = "serve",
        *arguments: str,
        within: Sequence[str] = (),
        tree: Path = REPOSITORY,
    ) -> None:
        self.port = int(options.get("PORT") or free_port())
        secure = "s" if options.get("HTTPS") or options.get("TLS_CERT") else ""
        self.url = f"http{secure}://{LOOPBACK}:{self.port}"
        self.ws_url = f"ws{secure}://{LOOPBACK}:{self.port}"
        self.api_key = options.get("SWITCHBOARD_API_KEY", API_KEY)
        self.folder = folder
        self.env = _environment(folder, self.port) | dict(options)
        self._runner = runner
        self._tree = tree
        self._command = [*within, *_command(runner, self.port), *arguments]
        self._process: Process | None = None
        self._old = 0
        """Characters of the log that are of starts before the last one."""

    @property
    def database_url(self) -> str:
        """Of its database; a second server may share it."""
        return self.env["DATABASE_URL"]

    @property
    def process(self) -> Process:
        """The process that was started last."""
        assert self._process is not None, "the server has not been started"
        return self._process

    @property
    def pid(self) -> int:
        """Of the process that was started; workers are its children."""
        return self.process.pid

    def launch(self) -> None:
        """Start the process without waiting, for tests of a start that fails."""
        log = self.folder / "log"
        self._old = len(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else 0
        self._process = self.command(self._command, log)

    def start(self) -> None:
        """Start and wait until every worker serves; `StartError` with the log otherwise."""
        self.launch()
        self.process.wait_until(self.serves)

    def log_text(self) -> str:
        """All that the server has written to stdout and stderr."""
        return self.process.log_text()

    def stop(self, seconds: float = 60) -> int:
        """SIGTERM, as an operator would; returns the exit code, negative when it had to be killed."""
        return self.process.stop(seconds=seconds)

    def kill(self) -> int:
        """SIGKILL to the started process alone, as a crash would."""
        return self.process.kill()

    def close(self) -> None:
        """End whatever is left of it, workers included."""
        if self._process is not None:
            self._process.kill_session()

    def serves(self) -> bool:
        """`serve` binds its port early, to refuse one in use, and says when all workers have started."""
        said_so = self._runner != "serve" or "Switchboard listens on" in self.log_text()[self._old :]
        return said_so and answers(self.port)

    def command(self, command: Sequence[str], log: Path) -> Process:
        """Start another process on the same code and settings."""
        with nullcontext() if self._tree == REPOSITORY else prestarted.off():
            return Process(command, log=log, env=self.env, cwd=self._tree)

    def manage(self, *arguments: str) -> str:
        """Run `manage.py` on the same settings and return its stdout; `CalledProcessError` when it fails."""
        command = [sys.executable, "manage.py", *arguments]
        result = prestarted.run(command, self.env, REPOSITORY)
        if result.returncode != 0:
            error = subprocess.CalledProcessError(result.returncode, command, result.stdout, result.stderr)
            error.add_note(f"stderr: {result.stderr[-4000:]}")
            raise error
        return result.stdout


def _command(runner: str, port: int) -> list[str]:
    python = sys.executable
    commands = {
        "serve": [python, "manage.py", "serve"],
        "daphne": [python, "-m", "daphne", *DAPHNE, "-b", LOOPBACK, "-p", str(port), _APPLICATION],
        "uvicorn": [python, "-m", "uvicorn", "--host", LOOPBACK, "--port", str(port), _APPLICATION],
    }
    return commands[runner]


def _environment(folder: Path, port: int) -> dict[str, str]:
    """Settings of every server: the tests' environment without settings of Switchboard, and the basics."""
    from broker_project.settings import SWITCHBOARD_ENVIRONMENT

    # PYTHONUNBUFFERED would hide output that is written late; without bytecode each start compiles the tree.
    python = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    dropped = {option.name for option in SWITCHBOARD_ENVIRONMENT.options} | python
    inherited = {
        name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in dropped
    }
    return inherited | {
        "DJANGO_SETTINGS_MODULE": "broker_project.settings",
        "DJANGO_SUPERUSER_PASSWORD": ADMIN_PASSWORD,
        "DJANGO_SUPERUSER_USERNAME": "admin",
        "HOST": LOOPBACK,
        "PORT": str(port),
        "SECRET_KEY": "a secret that only the tests use, long enough for every signature",
        "SWITCHBOARD_API_KEY": API_KEY,
        "VAR_DIR": str(folder),
    }
