"""npm packages that tests use: the real clients, and our own one for JavaScript."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tests.services.databases import REPOSITORY

_FOLDERS: Final = ("tests/interop", "tests/clients/wyre", "clients/js")


def packages() -> list[Path]:
    """Folders of this repository with a `package.json`."""
    return [REPOSITORY / name for name in _FOLDERS if (REPOSITORY / name / "package.json").exists()]


def install_packages() -> None:
    """Install what each `package.json` names, once per change; `CalledProcessError` when npm fails.

    Direct dependencies are pinned there; a lock file, where there is one, pins what they bring along.
    """
    for folder in packages():
        lock = folder / "package-lock.json"
        wanted = (lock if lock.exists() else folder / "package.json").read_bytes()
        installed = folder / "node_modules" / ".installed"
        if not installed.exists() or installed.read_bytes() != wanted:
            print(f"Installing npm packages of {folder.relative_to(REPOSITORY)}", flush=True)
            how = ["ci"] if lock.exists() else ["install", "--no-package-lock"]
            command = ["npm", *how, "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, check=True)
            installed.parent.mkdir(exist_ok=True)
            installed.write_bytes(wanted)
