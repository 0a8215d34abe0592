"""The load generator of `bench/c/`: compiled on first use, driven through its stdin."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from bench.machine import LOAD_CORE, on_core
from bench.section import Unavailable

SOURCES: Final = Path(__file__).parent / "c"
BUILD: Final = Path(__file__).parent / ".build"


def compiled(name: str, *sources: str) -> Path:
    """The program made of C sources, compiled when one of the sources is younger. Raises Unavailable."""
    binary = BUILD / name
    newest = max(path.stat().st_mtime for path in SOURCES.iterdir())
    if binary.exists() and binary.stat().st_mtime > newest:
        return binary
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unavailable("a C compiler (cc) is required; Debian, Ubuntu: apt-get install gcc libc6-dev")
    BUILD.mkdir(exist_ok=True)
    subprocess.run(
        [compiler, "-O2", "-Wall", "-o", binary, *(SOURCES / source for source in sources)], check=True
    )
    return binary


def load_program() -> Path:
    """The load generator. Raises Unavailable where there is no compiler."""
    return compiled("load", "load.c", "sockets.c")


@dataclass(frozen=True)
class Dialect:
    """How to speak to a server: where, what surrounds a published message, and the protocol's handshake.

    `steps` are `("expect", start of a frame)` and `("send", text)`; `reply` is `(ping, pong)`, text frames;
    "{n}" in `path`, `header` and `steps` is the number of the connection, in `before` that of a pair's
    receiver.
    """

    path: str
    before: str = ""
    after: str = ""
    steps: Sequence[tuple[str, str]] = ()
    reply: tuple[str, str] | None = None
    header: str = ""

    def arguments(self) -> list[str]:
        """Options of the load generator."""
        options = ["--path", self.path, "--before", self.before, "--after", self.after]
        for kind, text in self.steps:
            options += [f"--{kind}", text]
        if self.reply:
            options += ["--reply", "=".join(self.reply)]
        if self.header:
            options += ["--header", self.header]
        return options


@dataclass(frozen=True)
class Phase:
    """Counts of one phase of load. `least` and `most` are messages per receiving connection."""

    seconds: float
    sent: int
    expected: int
    received: int
    least: int
    most: int
    bytes: int
    """Bytes that came in, as they were on the wire."""
    refused: int
    lost: int
    p50_ms: float
    p99_ms: float
    cpu_seconds: float

    @property
    def fault(self) -> str:
        """Why the phase does not count; empty when every connection got every message once."""
        if self.lost:
            return f"INCOMPLETE: {self.lost} connections lost"
        if self.refused:
            return f"INCOMPLETE: {self.refused:,} refused"
        if self.received != self.expected:
            return f"INCOMPLETE: {self.received:,} of {self.expected:,}"
        return ""

    @property
    def uneven(self) -> str:
        """The same for a phase in which every connection gets the same number."""
        return self.fault or (
            "" if self.least == self.most else f"INCOMPLETE: {self.least:,} to {self.most:,} each"
        )


class LoadError(RuntimeError):
    """The load generator has ended or cannot open its connections."""


class Load:
    """A running load generator; a context manager."""

    def __init__(self, port: int, dialect: Dialect, size: int = 100) -> None:
        command: list[str | Path] = [
            load_program(),
            "--port",
            str(port),
            "--size",
            str(size),
            *dialect.arguments(),
        ]
        with on_core(LOAD_CORE):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def open(self, count: int, at_once: int = 64) -> float:
        """Open connections that receive; the seconds until the last is open. Raises LoadError."""
        return self._opened(f"open {count} {at_once}")

    def open_publishers(self, count: int, port: int, path: str) -> float:
        """Open connections that only publish, perhaps to another server of this dialect. Raises LoadError."""
        return self._opened(f"publishers {count} {port} {path}")

    def flood(self, seconds: float, in_flight: int, publishers: int = 1) -> Phase:
        """Publish whenever fewer than `in_flight` messages are on their way."""
        return Phase(**self._command(f"flood {seconds} {in_flight} {publishers}"))

    def pace(self, seconds: float, rate: float) -> Phase:
        """Publish so many messages a second."""
        return Phase(**self._command(f"pace {seconds} {rate}"))

    def echo(self, seconds: float, connections: int) -> Phase:
        """Each connection sends its next message when the last one has come back."""
        return Phase(**self._command(f"echo {seconds} {connections}"))

    def pairs(self, seconds: float, pairs: int) -> Phase:
        """Each of so many publishers sends to one receiver, its next message when that has the last one."""
        return Phase(**self._command(f"pairs {seconds} {pairs}"))

    def post(self, seconds: float, clients: int, request: Path) -> Phase:
        """Publish over kept HTTP connections, one request of each on its way."""
        return Phase(**self._command(f"post {seconds} {clients} {request}"))

    def idle(self, seconds: float) -> None:
        """Only answer pings. Raises LoadError when a connection was lost."""
        self._check(self._command(f"idle {seconds}"))

    def close_sockets(self) -> None:
        """End every connection in order."""
        self._command("close")

    def _opened(self, line: str) -> float:
        answer = self._command(line)
        self._check(answer)
        return float(answer["seconds"])

    def _check(self, answer: dict[str, Any]) -> None:
        if answer["lost"]:
            raise LoadError(f"{answer['lost']} connections were refused or lost, {answer['open']} are open")

    def _command(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise LoadError("the load generator has ended") from None
        answer = self._process.stdout.readline()
        if not answer:
            raise LoadError(f"the load generator has ended during: {line}")
        result: dict[str, Any] = json.loads(answer)
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()
