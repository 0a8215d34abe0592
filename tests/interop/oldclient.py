"""A virtual environment for socketIO-client-2 0.7.5, which needs what our own environment must not have.

The library imports setuptools' `pkg_resources`, gone from setuptools 82 on; it is the client of two of the
six known programs that speak to the original, so it is tested as it was published.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from tests.services.databases import REPOSITORY

FOLDER: Final = REPOSITORY / ".cache" / "socketio-client-2"
REQUIREMENTS: Final = (
    "socketIO-client-2==0.7.5",
    "setuptools==80.9.0",
    "requests==2.34.2",
    "six==1.17.0",
    "websocket-client==1.9.2",
)


class Unreachable(RuntimeError):
    """The registry does not answer, so the client cannot be had."""


def interpreter() -> Path:
    """The Python of that environment, made on first use. Raises Unreachable."""
    python = FOLDER / "bin" / "python"
    made = FOLDER / "installed.txt"
    FOLDER.parent.mkdir(exist_ok=True)
    with (FOLDER.parent / "lock").open("w") as lock:
        # Both passes of the tests come here at the same time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists() or made.read_text().splitlines() != list(REQUIREMENTS):
            _make(python)
            made.write_text("\n".join(REQUIREMENTS))
    return python


def _make(python: Path) -> None:
    print("Installing socketIO-client-2", file=sys.stderr, flush=True)  # noqa: T201
    venv.create(FOLDER, with_pip=True, clear=True)
    setuptools = [requirement for requirement in REQUIREMENTS if requirement.startswith("setuptools")]
    for arguments in (setuptools, ["--no-build-isolation", *REQUIREMENTS]):
        options = ["--quiet", "--disable-pip-version-check"]
        command: list[str | Path] = [python, "-m", "pip", "install", *options, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise Unreachable(result.stderr[-2000:])
