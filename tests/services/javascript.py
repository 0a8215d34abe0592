"""npm packages that tests use: the real clients, and our own one for JavaScript."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.services.databases import REPOSITORY

_FOLDERS: Final = ("tests/interop", "tests/nodes", "tests/console", "clients/js")


def packages() -> list[Path]:
    """Folders of this repository with a `package.json`."""
    return [REPOSITORY / name for name in _FOLDERS if (REPOSITORY / name / "package.json").exists()]


def install_packages() -> None:
    """Install what each `package.json` names, once per change; `CalledProcessError` when npm fails.

    Direct dependencies are pinned there; a lock file, where there is one, pins what they bring. Where npm's
    registry cannot be reached nothing is installed: tests that need it are skipped, and say so.
    """
    for folder in packages():
        lock = folder / "package-lock.json"
        wanted = (lock if lock.exists() else folder / "package.json").read_bytes()
        installed = folder / "node_modules" / ".installed"
        if not installed.exists() or installed.read_bytes() != wanted:
            print(f"Installing npm packages of {folder.relative_to(REPOSITORY)}", flush=True)
            how = ["ci"] if lock.exists() else ["install", "--no-package-lock"]
            command = ["npm", *how, "--no-audit", "--no-fund", "--loglevel=error"]
            try:
                subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, check=True)
            except subprocess.CalledProcessError:
                if _reachable():
                    raise
                print("NPM'S REGISTRY IS UNREACHABLE: TESTS WITH JAVASCRIPT CLIENTS ARE SKIPPED", flush=True)
                return
            installed.parent.mkdir(exist_ok=True)
            installed.write_bytes(wanted)


def require_packages(name: str) -> Path:
    """The folder of a `package.json`, such as `clients/js`; skips the test where it is not installed."""
    folder = REPOSITORY / name
    if not (folder / "node_modules").exists():
        pytest.skip(f"npm could not install the packages of {name} (make test does)")
    return folder


def node(version: int) -> Path:
    """The program of a version of Node that `tests/nodes` installs; skips the test where there is none."""
    program = require_packages("tests/nodes") / "node_modules" / f"node-{version}" / "bin" / "node"
    if not program.exists():
        pytest.skip(f"npm has Node {version} for Linux on x64 only")
    return program


def _reachable() -> bool:
    command = ["npm", "ping", "--loglevel=silent"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
