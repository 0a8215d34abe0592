"""The server builds to a wheel that holds all of it, and what is installed from it runs outside the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

PACKAGES = ("broker_project", "routing_app", "sessions_app", "switchboard", "switchboard_server")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]


def call(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a program outside the tree, without settings of the tests; its stdout."""
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "PATH", "TMPDIR")}
    result = subprocess.run(command, cwd=cwd, env=kept | env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def shipped() -> set[str]:
    """Files of the packages, relative to the repository, except what Python makes."""
    paths = [path for package in PACKAGES for path in (REPOSITORY / package).rglob("*") if path.is_file()]
    return {str(path.relative_to(REPOSITORY)) for path in paths if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network from a copy, since setuptools leaves files where it builds."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*shipped(), "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((REPOSITORY / name).read_bytes())
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir"]
    call(*PIP, "wheel", source, *options, target, cwd=target)
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert names == shipped()
    assert any(name.endswith(".html") for name in names)
    assert any("/migrations/" in name for name in names)


def test_the_wheel_asks_for_the_pinned_requirements(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(name))
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    pinned = {str(Requirement(line.partition("#")[0])) for line in lines if line[:1].isalpha()}

    assert {str(Requirement(line)) for line in metadata.get_all("Requires-Dist", [])} == pinned
    assert metadata["Name"] == "switchboard-broker"


def test_the_installed_wheel_runs_outside_the_tree(wheel: Path, tmp_path: Path) -> None:
    site, home = tmp_path / "site", tmp_path / "home"
    home.mkdir()
    call(*PIP, "install", "--no-deps", "--no-index", "--target", site, wheel, cwd=home)
    command = site / "bin" / "switchboard-server"

    script = "import switchboard, broker_project.settings as s; print(switchboard.__file__, s.VAR_DIR)"
    printed = call(sys.executable, "-c", script, cwd=home, PYTHONPATH=str(site))
    checked = call(command, "check", cwd=home, PYTHONPATH=str(site))
    planned = call(command, "migrate", cwd=home, PYTHONPATH=str(site))

    assert printed.split() == [str(site / "switchboard/__init__.py"), str(home / "var")]
    assert "no issues" in checked
    assert "Applying core.0001_initial... OK" in planned
    assert (home / "var" / "switchboard.sqlite3").exists()
