"""`scripts/venv.sh`, under `make run`: an environment made once, and one clear line when it cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

NEEDED = ("sh", "cat", "cmp", "cp", "dirname", "id")
VENV_PACKAGE = f"python3.{sys.version_info.minor}-venv"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project with nothing to install, so that no test asks the network."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(REPOSITORY / "scripts/venv.sh", tmp_path / "scripts")
    (tmp_path / "requirements.lock").write_text("# nothing\n")
    return tmp_path


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A PATH with a shell and no Python, no apt."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found
        (path / name).symlink_to(found)
    return path


def run(tree: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script the way make does."""
    command = ["sh", "scripts/venv.sh", "requirements.lock"]
    return subprocess.run(
        command, cwd=tree, env=os.environ | env, capture_output=True, text=True, check=False, timeout=110
    )


def add_python(machine: Path, script: str) -> None:
    """A `python3` that answers what the script says."""
    (machine / "python3").write_text(f"#!/bin/sh\n{script}\n")
    (machine / "python3").chmod(0o755)


def test_it_installs_once_and_again_only_after_a_change(tree: Path) -> None:
    first = run(tree, PYTHON=sys.executable)
    second = run(tree, PYTHON=sys.executable)
    (tree / "requirements.lock").write_text("# still nothing\n")
    third = run(tree, PYTHON=sys.executable)

    assert "Making .venv" in first.stdout
    assert "Installing requirements.lock" in first.stdout
    assert (tree / ".venv/bin/python").exists()
    assert second.stdout == ""
    assert third.stdout == "Installing requirements.lock\n"
    assert [first.returncode, second.returncode, third.returncode] == [0, 0, 0]


def test_a_failed_installation_is_tried_again(tree: Path) -> None:
    (tree / "no_hash").mkdir()
    (tree / "no_hash/pyproject.toml").write_text("[project]\nname = 'no_hash'\nversion = '1'\n")
    run(tree, PYTHON=sys.executable)
    (tree / "requirements.lock").write_text("./no_hash\n")
    failed = run(tree)
    (tree / "requirements.lock").write_text("# nothing\n\n")

    assert failed.returncode != 0
    assert "hash" in failed.stderr
    assert run(tree).stdout == "Installing requirements.lock\n"


def test_a_broken_environment_is_made_again(tree: Path, machine: Path) -> None:
    (tree / ".venv/bin").mkdir(parents=True)
    (tree / ".venv/bin/python").symlink_to("/nowhere/python3")
    shutil.copy(tree / "requirements.lock", tree / ".venv/requirements.lock")
    add_python(machine, f'echo "$@" >> {tree}/asked')

    run(tree, PATH=str(machine))

    assert "-m venv --clear .venv" in (tree / "asked").read_text()


def test_an_old_python_is_one_line(tree: Path, machine: Path) -> None:
    add_python(machine, '[ "$1" = --version ] && echo Python 3.9.2')
    result = run(tree, PATH=str(machine))

    assert result.returncode != 0
    assert result.stderr == "Switchboard needs Python 3.11 or newer; python3 is 3.9.2.\n"


def test_no_python_is_one_line(tree: Path, machine: Path) -> None:
    result = run(tree, PATH=str(machine))

    assert result.returncode != 0
    assert result.stderr == "Switchboard needs Python 3.11 or newer; python3 is not installed.\n"


def test_a_missing_venv_module_is_one_line_where_it_cannot_be_installed(tree: Path, machine: Path) -> None:
    add_python(machine, f'case "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"')
    result = run(tree, PATH=str(machine))

    assert result.returncode != 0
    assert result.stderr.count("\n") == 1
    assert f"install {VENV_PACKAGE}" in result.stderr


def test_as_root_with_apt_the_venv_module_is_installed(tree: Path, machine: Path) -> None:
    done = tree / "done"
    add_python(
        machine,
        f"""case "$*" in
        *ensurepip*) [ -e {done} ] ;;
        *"-m venv"*) echo "made" >> {done} ;;
        *) exec {sys.executable} "$@" ;;
    esac""",
    )
    (machine / "id").unlink()
    (machine / "id").write_text("#!/bin/sh\necho 0\n")
    (machine / "apt-get").write_text(f'#!/bin/sh\necho "$@" >> {done}\n')
    for name in ("id", "apt-get"):
        (machine / name).chmod(0o755)

    run(tree, PATH=str(machine))

    update, install, made = done.read_text().splitlines()
    assert update.startswith("update")
    assert install.endswith(VENV_PACKAGE)
    assert made == "made"
