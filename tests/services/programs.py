"""Programs that tests, attack and benchmark need and pip cannot install, and how they get here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.services.browser import find_chromium
from tests.services.databases import REPOSITORY
from tests.services.debootstrap import find_debootstrap
from tests.services.faketime import find_faketime
from tests.services.javascript import packages
from tests.services.nginx import find_nginx
from tests.services.postgres import find_postgres
from tests.services.prometheus import find_promtool
from tests.services.proxies import find_caddy, find_haproxy
from tests.services.redis import find_redis

OLDEST_NODE: Final = 18


class Missing(RuntimeError):
    """A program is missing and cannot be installed here; the message is one line that says what to do."""


@dataclass(frozen=True)
class Program:
    """Something to find on this machine, the apt packages that bring it, and whether anything needs it."""

    name: str
    find: Callable[[], object]
    apt: tuple[str, ...]
    needed: Callable[[], bool] = lambda: True
    optional: bool = False
    """Whether what needs it is left out, and says so, where it cannot be installed."""


def _node() -> bool:
    """Node with npm, new enough for the packages that the tests use."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v(\d+)", version)
    return match is not None and int(match[1]) >= OLDEST_NODE


REDIS: Final = Program("redis-server >= 7", find_redis, ("redis-server",))
POSTGRES: Final = Program("PostgreSQL >= 15", find_postgres, ("postgresql",))
NODE: Final = Program(f"Node >= {OLDEST_NODE} with npm", _node, ("nodejs", "npm"), lambda: bool(packages()))
FAKETIME: Final = Program("libfaketime", find_faketime, ("libfaketime",), optional=True)

TESTS: Final = (
    REDIS,
    POSTGRES,
    NODE,
    Program("curl", lambda: shutil.which("curl"), ("curl",)),
    Program("nginx", find_nginx, ("nginx",), optional=True),
    Program("Caddy", find_caddy, ("caddy",), optional=True),
    Program("HAProxy", find_haproxy, ("haproxy",), optional=True),
    Program("debootstrap", find_debootstrap, ("debootstrap",), optional=True),
    Program("promtool", find_promtool, ("prometheus",), optional=True),
    FAKETIME,
    Program("Chromium", find_chromium, ("chromium",), (REPOSITORY / "tests" / "browser").exists),
)
"""What `make test` and `make soak` need."""
ATTACK: Final = (REDIS, POSTGRES, FAKETIME)
"""What `make faults` needs."""
BENCH: Final = tuple(replace(program, optional=True) for program in (REDIS, POSTGRES, NODE))
"""What `make bench` needs; a row says so where it cannot be measured."""


def ensure(programs: Sequence[Program]) -> None:
    """Install through apt what is needed and missing; `Missing` where that is not possible.

    One line names what is optional and missing.
    """
    for missing in (
        _installed([program for program in programs if not program.optional]),
        _installed([program for program in programs if program.optional]),
    ):
        if required := [program for program in missing if not program.optional]:
            raise Missing(_advice(required))
        if missing:
            print(f"A PART IS LEFT OUT. {_advice(missing)}", flush=True)


def _installed(programs: Sequence[Program]) -> list[Program]:
    """Install what is needed and missing, where that is possible; what is missing afterwards."""
    missing = _missing(programs)
    if missing and _may_install():
        names = [package for program in missing for package in program.apt]
        print(f"Installing {' '.join(names)}", flush=True)
        _install(names)
        missing = _missing(missing)
    return missing


def _missing(programs: Sequence[Program]) -> list[Program]:
    return [program for program in programs if program.needed() and not program.find()]


def _advice(missing: Sequence[Program]) -> str:
    names = ", ".join(program.name for program in missing)
    apt = " ".join(package for program in missing for package in program.apt)
    return f"Missing: {names}. Debian, Ubuntu: apt-get install {apt}"


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
