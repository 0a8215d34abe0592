"""`make test`: every test on SQLite with the in-memory layer, and on PostgreSQL with Redis.

The two passes run side by side, so that no test shares a process with a test of the other stack, and each is
spread over some processes, because most tests wait: file by file, and by folders where tests share servers
(`tests/services/share.py`). The first one's output is shown as it comes, the second one's when it is done.
Arguments go to pytest: `python -m tests tests/tokens -k broadcast`. `--lint` has `make lint` run beside them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from tests.services.databases import REPOSITORY
from tests.services.javascript import install_packages
from tests.services.postgres import Postgres
from tests.services.programs import TESTS, Missing, ensure
from tests.services.redis import Redis

LINT: Final = "--lint"
COMPILE: Final = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q"]
"""Writes the bytecode that pytest makes of the tests once, instead of in each of its processes."""
INSTALL: Final = [sys.executable, "-m", "tests.beforehand"]
FIRST, SECOND = 5, 2
"""Processes in each pass; the first one has more to do, since `once` leaves tests to it."""


@dataclass(frozen=True)
class Stack:
    """The backing services of a run: a name, the settings that choose them, the file of its output."""

    name: str
    processes: int
    env: Mapping[str, str]
    output: Path | None = None


def main(arguments: Sequence[str]) -> int:
    """Prepare, run both passes, tell the result; 0 when all have passed, 2 when something is missing."""
    # Servers start by the hundred, and each would compile the whole tree for itself.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    # A shell starts what runs in the background deaf to SIGINT, and pytest would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rest = [one for one in arguments if one != LINT]
    with ExitStack() as beside, tempfile.NamedTemporaryFile("w+", encoding="utf-8") as said:
        lint = beside.enter_context(_process(["make", "lint"], said.fileno())) if LINT in arguments else None
        preparing = [] if rest else [COMPILE, INSTALL]
        prepared = [beside.enter_context(_process(one, subprocess.DEVNULL)) for one in preparing]
        try:
            ensure(TESTS)
            install_packages()
        except (Missing, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            return 2
        for one in prepared:
            one.wait()
        with _stacks() as stacks:
            codes = _run(stacks, rest)
        if lint is not None:
            codes["lint"] = lint.wait()
            said.seek(0)
            print(f"\nlint\n{said.read()}")
    for name, code in codes.items():
        print(f"{name}: {'passed' if code == 0 else f'FAILED (exit code {code})'}")
    return max(codes.values())


@contextmanager
def _stacks() -> Iterator[list[Stack]]:
    """Start the servers of the second stack; both stacks keep their files in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="switchboard-tests-") as name, ExitStack() as services:
        folder = Path(name)
        layers = [services.enter_context(Redis(folder)).url for _ in range(SECOND)]
        postgres = services.enter_context(Postgres())
        sqlite = f"sqlite:///{folder}/switchboard.sqlite3"
        embedded = {"DATABASE_URL": sqlite, "REDIS_URL": "", "REDIS_URLS": ""}
        scaled = {"DATABASE_URL": postgres.url(), "REDIS_URL": layers[0], "REDIS_URLS": " ".join(layers)}
        yield [
            Stack("SQLite + in-memory", FIRST, embedded | {"VAR_DIR": f"{folder}/embedded"}),
            Stack("PostgreSQL + Redis", SECOND, scaled | {"VAR_DIR": f"{folder}/scaled"}, folder / "output"),
        ]


def _run(stacks: Sequence[Stack], arguments: Sequence[str]) -> dict[str, int]:
    """Run the passes; the exit code of each, by the name of its stack."""
    codes = {}
    with ExitStack() as passes:
        running = [(stack, passes.enter_context(_pytest(stack, arguments))) for stack in stacks]
        for stack, process in running:
            print(f"\n{stack.name}", flush=True)
            codes[stack.name] = process.wait()
            if stack.output:
                print(stack.output.read_text(encoding="utf-8", errors="replace"))
    return codes


@contextmanager
def _pytest(stack: Stack, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """One pass."""
    colour = "--color=yes" if sys.stdout.isatty() else "--color=no"
    spread = ["-n", str(stack.processes), "--dist", "loadfile", "--no-loadscope-reorder"]
    plugins = ["-p", "no:cacheprovider", "-p", "tests.services.share"]
    command = [sys.executable, "-m", "pytest", colour, *plugins, *spread, *arguments]
    with (
        open(stack.output or sys.stdout.fileno(), "wb", closefd=stack.output is not None) as output,
        _process(command, output.fileno(), stack.env) as process,
    ):
        yield process


@contextmanager
def _process(
    command: Sequence[str], output: int, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own; interrupted when we are, with time to end its servers."""
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=os.environ | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process with all that it has started, which may have servers to end."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """Leave through every `finally`, as Ctrl-C does."""
    sys.exit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
