"""Programs that tests need and pip cannot install: what they are, and how they get here.

Add one to `PROGRAMS`, nowhere else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services.browser import find_chromium
from tests.services.databases import REPOSITORY
from tests.services.javascript import packages
from tests.services.postgres import find_postgres
from tests.services.redis import find_redis

OLDEST_NODE: Final = 18


class Missing(RuntimeError):
    """A program is missing and cannot be installed here; the message is one line that says what to do."""


@dataclass(frozen=True)
class Program:
    """Something to find on this machine, the apt packages that bring it, and whether any test needs it."""

    name: str
    find: Callable[[], object]
    apt: tuple[str, ...]
    needed: Callable[[], bool] = lambda: True


def _node() -> bool:
    """Node with npm, new enough for the packages that the tests use."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v(\d+)", version)
    return match is not None and int(match[1]) >= OLDEST_NODE


PROGRAMS: Final = (
    Program("redis-server >= 7", find_redis, ("redis-server",)),
    Program("PostgreSQL >= 15", find_postgres, ("postgresql",)),
    Program(f"Node >= {OLDEST_NODE} with npm", _node, ("nodejs", "npm"), lambda: bool(packages())),
    Program("Chromium", find_chromium, ("chromium",), (REPOSITORY / "tests" / "browser").exists),
)


def ensure(programs: Sequence[Program] = PROGRAMS) -> None:
    """Install through apt what is needed and missing; `Missing` where that is not possible."""
    if not (missing := _missing(programs)):
        return
    if not _may_install():
        raise Missing(_advice(missing))
    names = [package for program in missing for package in program.apt]
    print(f"Installing {' '.join(names)}", flush=True)
    if not _install(names) or (missing := _missing(missing)):
        raise Missing(_advice(missing))


def _missing(programs: Sequence[Program]) -> list[Program]:
    return [program for program in programs if program.needed() and not program.find()]


def _advice(missing: Sequence[Program]) -> str:
    names = ", ".join(program.name for program in missing)
    apt = " ".join(package for program in missing for package in program.apt)
    return f"The tests need {names}. Debian, Ubuntu: apt-get install {apt}"


def _may_install() -> bool:
    return os.geteuid() == 0 and Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def _install(names: Sequence[str]) -> bool:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"]
    commands = ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *names])
    return all(
        subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
        ).returncode
        == 0
        for command in commands
    )
