"""The server builds to a wheel with all of it; installed outside the tree it serves all protocols."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from switchboard import __version__
from tests.documents.blocks import ALL
from tests.project import exchanges
from tests.project.exchanges import Site
from tests.services.databases import REPOSITORY
from tests.services.ports import free_port
from tests.services.process import Process
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once

PACKAGES = ("broker_project", "routing_app", "sessions_app", "switchboard", "switchboard_server")
BESIDE = ("pyproject.toml", "requirements.txt", "requirements-otel.txt", "README.md", "LICENSE")
PROGRAM = ".venv/bin/switchboard-server "
INSTALLING = [
    "python3 -m venv .venv",
    ".venv/bin/pip install switchboard-broker",
    ".venv/bin/pip install 'switchboard-broker[otel]'",
    ".venv/bin/uvicorn --port 8000 broker_project.asgi:application",
]
"""Lines of docs/install.md that are not commands of the server; many tests start the
application on uvicorn."""
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]


def outside(**env: str) -> dict[str, str]:
    """An environment without the settings of the tests."""
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "PATH", "TMPDIR")}
    return kept | env


def call(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a program outside the tree, without settings of the tests; its stdout."""
    result = subprocess.run(command, cwd=cwd, env=outside(**env), capture_output=True, text=True, check=False)
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
    for name in (*shipped(), *BESIDE):
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
    asked = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    extra = {one.name for one in asked if one.marker and 'extra == "otel"' in str(one.marker)}

    assert {str(one) for one in asked if one.name not in extra} == pinned("requirements.txt")
    assert extra == {Requirement(line).name for line in pinned("requirements-otel.txt")}
    assert metadata.get_all("Provides-Extra") == ["otel"]
    assert (metadata["Name"], metadata["Version"]) == ("switchboard-broker", __version__)


def pinned(file: str) -> set[str]:
    """The lines of a file of requirements."""
    lines = (REPOSITORY / file).read_text().splitlines()
    return {str(Requirement(line.partition("#")[0])) for line in lines if line[:1].isalpha()}


@dataclass
class Installed:
    """The wheel in a venv of its own, which borrows the packages that it needs, and an empty folder."""

    programs: Path
    home: Path

    def run(self, *arguments: str) -> str:
        """What `switchboard-server` prints in the folder."""
        return call(self.programs / "switchboard-server", *arguments, cwd=self.home)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install` of the wheel alone: it takes no network, and no file of the tree."""
    folder, home = tmp_path_factory.mktemp("venv"), tmp_path_factory.mktemp("home")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    call(*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=home)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return Installed(folder / "bin", home)


@pytest.fixture(scope="module")
def site(installed: Installed) -> Iterator[Site]:
    """`switchboard-server serve` in the empty folder: a first run, whose key is printed."""
    port, log = free_port(), installed.home.parent / f"{installed.home.name}.log"
    process = Process(
        [installed.programs / "switchboard-server", "serve"],
        log=log,
        env=outside(PORT=str(port)),
        cwd=installed.home,
    )
    try:
        process.wait_until(lambda: "Switchboard listens" in process.log_text())
        (key,) = re.findall(r"^API key: +(\S+)$", process.log_text(), re.MULTILINE)
        yield Site(port, key)
        assert process.stop() == 0
    finally:
        process.kill_session()


def test_the_installed_commands_know_their_version_and_their_modules(installed: Installed) -> None:
    script = "import broker_project, routing_app, sessions_app, switchboard, switchboard_server, sys\n"
    script += f"print(*{{sys.modules[name].__file__.split('/lib/')[0] for name in {PACKAGES}}})"
    python = installed.programs / "python"

    assert installed.run("--version") == f"switchboard {__version__}\n"
    assert call(python, "-c", script, cwd=installed.home).split() == [str(installed.programs.parent)]
    assert "no issues" in installed.run("check")


def test_a_first_run_keeps_its_things_in_the_folder(installed: Installed, site: Site) -> None:
    assert {path.name for path in installed.home.iterdir()} == {"var"}
    assert {"secret_key", "switchboard.sqlite3"} <= {path.name for path in (installed.home / "var").iterdir()}


def test_the_pages_and_what_they_load_are_there(site: Site) -> None:
    assert "admin/css/base.css" in site.text("/admin/login/")
    assert "--primary" in site.text("/static/admin/css/base.css")
    assert "swagger-ui" in site.text("/api/docs")
    assert "<html" in site.text("/console/")


def test_the_version_is_in_the_document_and_in_the_metrics(site: Site) -> None:
    assert site.call("/api/schema?format=json")["info"]["version"] == __version__
    assert f'switchboard_build_info{{version="{__version__}"}} 1.0' in site.text("/metrics")


def test_every_protocol_is_served(installed: Installed, site: Site) -> None:
    customer = installed.run("gentoken", "--publisher", "demo", "--customer", "alice").strip()

    exchanges.tokens(site)
    exchanges.sessions(site, customer)
    exchanges.rooms(site)
    exchanges.events(site)
    exchanges.requests(site)


def test_every_command_of_the_page_runs(installed: Installed, site: Site) -> None:
    """`pip install` and `serve` are what the fixtures do."""
    lines = [line for block in ALL["docs/install.md"] for line in block.text.splitlines()]
    server = [line.removeprefix(PROGRAM) for line in lines if line.startswith(PROGRAM)]
    printed = {line.split()[0]: installed.run(*line.split()) for line in server if line != "serve"}

    assert [line for line in lines if not line.startswith(PROGRAM)] == INSTALLING
    assert set(printed) == {"--version", "check", "createapikey", "gentoken", "options", "migrate"}
    key = Site(site.port, printed["createapikey"].strip())
    wait_until(lambda: key.call("/api/clients/")["count"] == 0)  # those of the test before have left
    assert key.call("/api/publish", {"addresses": ["token:nobody"], "message": "x"}) == {"delivered_to": 0}
