"""The requirements pin every package that is installed, and none that nobody needs."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import distribution, packages_distributions, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

NOT_IMPORTED = {"daphne", "uvicorn", "hiredis"}
"""Servers are started by name: `daphne broker_project.asgi:application`.
redis-py looks for hiredis by itself."""
BROUGHT = "# What the packages above bring with them"

PACKAGES = ("broker_project", "routing_app", "sessions_app", "switchboard", "switchboard_server")
OWNERS = packages_distributions()


def pins(file: str) -> dict[str, Requirement]:
    """The requirements of a file that apply here, by canonical name."""
    lines = (REPOSITORY / file).read_text().splitlines()
    found = [Requirement(line.partition("#")[0]) for line in lines if re.match(r"[A-Za-z]", line)]
    return {canonicalize_name(pin.name): pin for pin in found if pin.marker is None or pin.marker.evaluate()}


def locked(file: str) -> dict[str, Requirement]:
    """The requirements of a lock, by canonical name, without the systems that all of it is for."""
    entries = re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", (REPOSITORY / file).read_text()).strip())
    found: dict[str, Requirement] = {}
    for entry in entries:
        requirement, *hashes = entry.replace("\\\n", "").split(" --hash=")
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one.strip()) for one in hashes)
        wanted = Requirement(requirement)
        found[canonicalize_name(wanted.name)] = wanted
    return found


RUNTIME = pins("requirements.txt")
OTEL = pins("requirements-otel.txt")
DOCS = pins("requirements-docs.txt")
BUILD = pins("requirements-build.txt")
EVERYTHING = RUNTIME | OTEL | DOCS | BUILD | pins("requirements-dev.txt")


def test_installed_versions_are_the_pinned_ones() -> None:
    installed = {name: f"=={version(name)}" for name in EVERYTHING}

    assert installed == {name: str(pin.specifier) for name, pin in EVERYTHING.items()}


@pytest.mark.parametrize(
    ("file", "known"),
    [
        ("requirements.txt", RUNTIME),
        ("requirements-otel.txt", EVERYTHING),
        ("requirements-docs.txt", DOCS),
        ("requirements-build.txt", BUILD),
        ("requirements-dev.txt", EVERYTHING),
    ],
)
def test_all_that_a_package_brings_is_pinned_too(file: str, known: dict[str, Requirement]) -> None:
    missing = {
        f"{needed.name}, which {name} needs"
        for name in pins(file)
        for needed in map(Requirement, distribution(name).requires or [])
        if canonicalize_name(needed.name) not in known and applies(needed, known[name].extras)
    }

    assert not missing


def applies(needed: Requirement, extras: set[str]) -> bool:
    """Is a dependency wanted here with these extras of the package that names it?"""
    return needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras | {""})


def asked() -> set[str]:
    """Packages that the server or its extra asks for by name, without those that come along."""
    found = set()
    for file in ("requirements.txt", "requirements-otel.txt"):
        head = (REPOSITORY / file).read_text().partition(BROUGHT)[0]
        known = pins(file).items()
        found |= {name for name, pin in known if re.search(rf"^{re.escape(pin.name)}\b", head, re.MULTILINE)}
    return found


def imported() -> set[str]:
    """Modules, by their first name, that the server's files import."""
    files = [file for package in PACKAGES for file in (REPOSITORY / package).glob("**/*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [
        node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level
    ]
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - set(PACKAGES)


def packages_of(module: str) -> set[str]:
    """Installed packages that hold a module; several may share a namespace."""
    return {str(canonicalize_name(owner)) for owner in OWNERS.get(module, [])}


def test_the_server_imports_only_its_requirements() -> None:
    assert not [module for module in imported() if not packages_of(module) & asked()]


def test_the_server_uses_all_that_it_asks_for() -> None:
    settings = (REPOSITORY / "broker_project/settings.py").read_text()
    named = {module for module in OWNERS if re.search(rf"[\"']{re.escape(module)}[.\"']", settings)}
    used = {package for module in imported() | named for package in packages_of(module)}

    assert asked() - NOT_IMPORTED <= used
    assert asked() - used >= NOT_IMPORTED


def test_redis_stays_below_8() -> None:
    """With redis-py 8 channels-redis 4.3.0 loses an idle socket every 5 s and leaves ghost group members."""
    assert EVERYTHING["channels-redis"].specifier.contains("4.3.0"), (
        "a newer release: look whether the pin can go"
    )
    assert int(version("redis").split(".")[0]) == 7


def test_daphne_is_past_its_two_advisories() -> None:
    """CVE-2026-44545 and CVE-2026-44546 are in every release before 4.2.2."""
    assert tuple(map(int, version("daphne").split("."))) >= (4, 2, 3)


@pytest.mark.parametrize(
    ("file", "known"),
    [
        ("requirements.lock", RUNTIME),
        ("requirements-build.lock", BUILD),
        ("requirements-dev.lock", EVERYTHING),
    ],
)
def test_a_lock_holds_the_pinned_packages_and_no_more(file: str, known: dict[str, Requirement]) -> None:
    entries = {name: pin for name, pin in locked(file).items() if pin.marker is None or pin.marker.evaluate()}

    assert {name: str(pin.specifier) for name, pin in entries.items()} == {
        name: str(pin.specifier) for name, pin in known.items()
    }, "run: make lock"


def test_no_file_names_a_package_index() -> None:
    files = [*REPOSITORY.glob("requirements*"), REPOSITORY / "Makefile", *REPOSITORY.glob("scripts/*.*")]

    assert len(files) >= 7
    assert not [file for file in files if re.search(r"index-url|find-links|https?://", file.read_text())]
