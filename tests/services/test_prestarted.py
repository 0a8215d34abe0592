"""A forked process is what a new interpreter would be: its words, environment, folder, files and end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.services import prestarted
from tests.services.databases import REPOSITORY
from tests.services.process import Process

pytestmark = pytest.mark.once

LOOK = """
import json, os, sys
print(json.dumps([
    sys.argv, sys.orig_argv, sys.path[0], os.getcwd(), dict(os.environ), __name__,
    sys.modules["__main__"].__dict__ is globals(), sys.stdin.read(), os.getsid(0) == os.getpid(),
]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a `manage.py` that tells what it sees."""
    (tmp_path / "manage.py").write_text(LOOK)
    (tmp_path / "looking.py").write_text(LOOK)
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    return {name: os.environ[name] for name in os.environ if name.startswith("PYTHON")} | more


@pytest.mark.parametrize("words", [["manage.py", "serve", "--x"], ["-m", "looking", "serve"]])
def test_a_program_sees_what_it_would_see_in_a_new_interpreter(folder: Path, words: list[str]) -> None:
    seen = []
    for name in ("forked", "new"):
        log = folder / name
        command, env = [sys.executable, *words], environment(LC_ALL="C.UTF-8", WORD="two words")
        if name == "forked":
            assert prestarted.may_fork(command, env)
            process = Process(command, log=log, env=env, cwd=folder)
        else:
            with prestarted.off():
                process = Process(command, log=log, env=env, cwd=folder)
        assert process.wait() == 0, process.log_text()
        seen.append(process.log_text())
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("code", "expected", "said"),
    [
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('no way')", 1, "no way\n"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("import atexit; atexit.register(print, 'bye')", 0, "bye\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_the_end_is_told(tmp_path: Path, code: str, expected: int, said: str) -> None:
    (tmp_path / "manage.py").write_text(code)
    process = Process([sys.executable, "manage.py"], log=tmp_path / "log", env=environment(), cwd=tmp_path)

    assert process.wait() == expected
    assert process.exit_code == expected
    assert process.log_text().endswith(said)


def test_output_and_errors_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "manage.py").write_text("import sys; print('one'); print('two', file=sys.stderr); exit(3)")
    result = prestarted.run([sys.executable, "manage.py"], environment(), tmp_path)

    assert (result.returncode, result.stdout, result.stderr) == (3, "one\n", "two\n")


def test_a_signal_reaches_it(tmp_path: Path) -> None:
    (tmp_path / "manage.py").write_text("print('up', flush=True); import time; time.sleep(60)")
    process = Process([sys.executable, "manage.py"], log=tmp_path / "log", env=environment(), cwd=tmp_path)
    process.wait_until(lambda: "up" in process.log_text())

    assert process.exit_code is None
    assert process.stop() == -signal.SIGTERM


def test_an_interpreter_with_settings_of_its_own_is_new() -> None:
    command = [sys.executable, "manage.py", "serve"]
    assert prestarted.may_fork(command, environment())
    assert not prestarted.may_fork(command, environment(PYTHONPROFILEIMPORTTIME="1"))
    assert not prestarted.may_fork(["redis-server", "manage.py"], environment())


def test_nothing_that_reads_settings_is_loaded_before_the_fork(tmp_path: Path) -> None:
    (tmp_path / "manage.py").write_text(
        "import sys\nfrom django.conf import settings\n"
        "print(settings.configured, 'prometheus_client' in sys.modules, 'django.urls' in sys.modules)"
    )
    result = prestarted.run([sys.executable, "manage.py"], environment(), tmp_path)

    assert result.stdout == "False False True\n", result.stderr
    assert REPOSITORY not in tmp_path.parents
