"""`python -m tests`, under `make test`: both passes count, and nothing is left when it ends or is ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.services.databases import REPOSITORY
from tests.services.process import Process

pytestmark = pytest.mark.once

ONLY_ON_SQLITE = """
from django.conf import settings

def test_database():
    assert "sqlite" in settings.DATABASES["default"]["ENGINE"]

def test_layer():
    assert settings.REDIS_URL == ""
"""

FOREVER = """
import os
import tempfile
import time
from pathlib import Path

import pytest
from tests.services.process import Process

@pytest.fixture(scope="session")
def child():
    folder = Path(tempfile.gettempdir())
    process = Process(["sleep", "600"], log=folder / "child", cwd=folder)
    yield
    process.kill_session()

def test_forever(child):
    (Path(tempfile.gettempdir()) / f"runs-{os.getpid()}").touch()
    time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """For temporary files; other users may pass through, because PostgreSQL does not run as root."""
    path = Path(tempfile.mkdtemp(prefix="switchboard-passes-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def command(*arguments: str | Path) -> list[str]:
    """Run test files, with other arguments of pytest, on both stacks, and without plugins slow to load."""
    lean = ["-p", "no:schemathesis", "-p", "no:hypothesispytest"]
    run = [sys.executable, "-m", "tests", "-c", str(REPOSITORY / "pyproject.toml")]
    return [*run, *lean, *map(str, arguments)]


def processes_of(folder: Path) -> list[str]:
    """Names of processes that work in the folder, or name it on their command line."""
    names = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command_line = (process / "cmdline").read_text(errors="replace")
            if str(folder) in command_line or (process / "cwd").readlink().is_relative_to(folder):
                names.append((process / "comm").read_text().strip())
    return names


def leftovers(folder: Path) -> list[str]:
    """Temporary folders that the run has not removed; pytest keeps its own on purpose."""
    return [path.name for path in folder.iterdir() if path.name.startswith("switchboard")]


def test_a_failure_on_one_stack_fails_the_whole(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "test_stack.py").write_text(ONLY_ON_SQLITE)
    result = subprocess.run(
        command(tmp_path / "test_stack.py", "-n0"),
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )

    assert result.returncode == 1, result.stdout + result.stderr
    assert "2 passed" in result.stdout
    assert "2 failed" in result.stdout
    assert result.stdout.endswith("SQLite + in-memory: passed\nPostgreSQL + Redis: FAILED (exit code 1)\n")
    assert processes_of(folder) == []
    assert leftovers(folder) == []


@pytest.mark.parametrize(("name", "expected"), [("gw0", "one"), ("gw1", "two"), ("gw2", "one"), ("", "none")])
def test_each_process_of_a_pass_has_a_redis_of_its_own(name: str, expected: str) -> None:
    env = {"PYTEST_XDIST_WORKER": name, "REDIS_URLS": "one two", "REDIS_URL": "none"}
    script = "import os, tests.services.share; print(os.environ['REDIS_URL'])"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=env, capture_output=True, text=True, check=True
    )

    assert result.stdout == f"{expected}\n"


@pytest.mark.parametrize(("number", "spread"), [(signal.SIGINT, "-n1"), (signal.SIGTERM, "-n0")])
def test_an_interrupted_run_ends_its_processes(
    folder: Path, tmp_path: Path, number: signal.Signals, spread: str
) -> None:
    (tmp_path / "test_forever.py").write_text(FOREVER)
    process = Process(
        command(tmp_path / "test_forever.py", spread),
        log=tmp_path / "log",
        env=os.environ | {"TMPDIR": str(folder)},
        cwd=REPOSITORY,
    )
    try:
        process.wait_until(lambda: len(list(folder.glob("runs-*"))) == 2, seconds=150)
        before = processes_of(folder)
        code = process.stop(number, seconds=100)
    finally:
        process.kill_session()

    assert {"redis-server", "postgres"} <= set(before)
    assert before.count("sleep") == 2
    assert code == 128 + number
    assert processes_of(folder) == []
    assert leftovers(folder) == []
