"""Packages of PyPI that are not among our requirements: for few systems, or large, and for few tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.services.databases import REPOSITORY

CACHE: Final = REPOSITORY / ".cache"


class NotAvailable(Exception):
    """The package cannot be had on this machine."""


def install(requirement: str, sha256: str = "") -> Path:
    """See to it that a package, such as `atheris==3.0.0`, is in a folder of `.cache/`. Raises NotAvailable.

    Nothing that it needs comes with it. `sha256` is that of its file, for one that has a single one.
    """
    installed = CACHE / requirement
    if installed.exists():
        return installed
    CACHE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=CACHE))
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n" if sha256 else requirement)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    pip += ["--retries", "1"]  # where there is no network, one try has shown it
    command = [*pip, "--target", str(folder), "--requirement", str(wanted)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if result.returncode != 0:
        shutil.rmtree(folder)
        raise NotAvailable(f"pip could not install {requirement}: {result.stderr.strip()[-200:]}")
    try:
        os.rename(folder, installed)  # noqa: PTH104 - fails when another run was first, as Path.replace may not
    except OSError:
        shutil.rmtree(folder)
    return installed
