"""The import contracts hold, and each can fail: a copy of the tree with one wrong import is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

CONFIG = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
ROOTS = CONFIG["root_packages"]

DOWNWARD = "An import runs downward, and no protocol imports another"
WIRE = "wire.py is pure"
VALUES = "The core's own values are pure"
NO_DJANGO = "The server needs no Django"
NO_TWISTED = "The server needs neither Daphne nor Twisted"
PUBLIC = "An example imports the public names"
NO_TESTS = "The server does not import its tests"

# (contract, file that gets the import, the import)
VIOLATIONS = [
    (DOWNWARD, "routing_app/core/uphill.py", "import routing_app.tokens"),
    (DOWNWARD, "routing_app/core/uphill.py", "import broker_project.settings"),
    (DOWNWARD, "routing_app/tokens/uphill.py", "from broker_project import settings"),
    (DOWNWARD, "routing_app/tokens/joined.py", "import routing_app.broker.urls"),
    (DOWNWARD, "routing_app/broker/uphill.py", "import switchboard"),
    (DOWNWARD, "routing_app/tokens/uphill.py", "from routing_app.console import access"),
    (DOWNWARD, "routing_app/tokens/sideways.py", "import routing_app.rooms"),
    (DOWNWARD, "routing_app/rooms/sideways.py", "def later():\n    from routing_app.tokens import wire"),
    (DOWNWARD, "broker_project/uphill.py", "import examples.chat"),
    (DOWNWARD, "sessions_app/sideways.py", "import routing_app.tokens"),
    (DOWNWARD, "routing_app/core/uphill.py", "import sessions_app"),
    (WIRE, "routing_app/tokens/wire.py", "import django.utils.timezone"),
    (WIRE, "routing_app/tokens/wire.py", "import asyncio"),
    (WIRE, "routing_app/tokens/wire.py", "from routing_app.core import models"),
    (WIRE, "routing_app/rooms/deeper/wire.py", "import time"),
    (WIRE, "sessions_app/wire.py", "import socket"),
    (VALUES, "routing_app/core/address.py", "from channels.layers import get_channel_layer"),
    (VALUES, "routing_app/core/codes.py", "import rest_framework"),
    (VALUES, "routing_app/core/delivery/frame.py", "import time"),
    (VALUES, "routing_app/core/delivery/publication.py", "import asyncio"),
    (DOWNWARD, "routing_app/core/uphill.py", "import routing_app.engineio"),
    (DOWNWARD, "routing_app/engineio/uphill.py", "import routing_app.rooms"),
    (NO_DJANGO, "switchboard_server/oops.py", "from django.conf import settings"),
    (NO_DJANGO, "switchboard_server/oops.py", "from routing_app.core import codes"),
    (NO_TWISTED, "switchboard_server/server.py", "import daphne.server"),
    (NO_TWISTED, "switchboard_server/writer.py", "from twisted.internet import reactor"),
    (PUBLIC, "examples/oops.py", "from routing_app.core import codes"),
    (NO_TESTS, "broker_project/oops.py", "from tests.services import ports"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of everything that the contracts speak of."""
    for name in ROOTS:
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(tree: Path) -> tuple[int, str]:
    """Exit code and output of lint-imports in a tree."""
    command = [f"{Path(sys.executable).parent}/lint-imports", "--no-cache"]
    result = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout + result.stderr


def add_import(tree: Path, file: str, statement: str) -> None:
    """Append an import to a file, which is made, with its packages, where it does not exist yet."""
    path = tree / file
    path.parent.mkdir(parents=True, exist_ok=True)
    for package in path.relative_to(tree).parents[:-1]:
        (tree / package / "__init__.py").touch()
    with path.open("a") as target:
        target.write(f"\n{statement}\n")


def test_contracts_hold(tree: Path) -> None:
    code, output = lint_imports(tree)

    assert code == 0, output
    assert f"{len(CONFIG['contracts'])} kept, 0 broken" in output


@pytest.mark.parametrize(("contract", "file", "statement"), VIOLATIONS)
def test_wrong_import_breaks_its_contract(tree: Path, contract: str, file: str, statement: str) -> None:
    for line in ("tokens", "rooms"):
        add_import(tree, f"routing_app/{line}/wire.py", "")
    add_import(tree, file, statement)

    code, output = lint_imports(tree)

    assert code != 0, output
    assert f"{contract} BROKEN" in output


def test_every_contract_is_shown_to_fail() -> None:
    assert {contract for contract, _, _ in VIOLATIONS} == {row["name"] for row in CONFIG["contracts"]}


def test_every_package_of_the_server_is_under_contract() -> None:
    packages = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}

    assert packages - {"tests", "bench", "faults"} == set(ROOTS)
