"""The Dockerfile: what goes into the image, who runs it, and that it ends as it should."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from switchboard import __version__
from tests.deploy.dockerfile import DOCKERFILE, health_command, options, stages, words
from tests.deploy.files import known_variables
from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

BUILD, IMAGE = stages()
PACKAGES = {"broker_project", "routing_app", "sessions_app", "switchboard", "switchboard_server"}
OTHER_SERVERS = {"daphne", "uvicorn"}


def sources() -> list[str]:
    """Files and folders that are copied out of the repository."""
    found = [options(rest) for stage in (BUILD, IMAGE) for rest in stage.all("COPY")]
    return [name for given, names in found if "from" not in given for name in shlex.split(names)[:-1]]


def test_a_linter_has_nothing_to_say() -> None:
    program = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_image_has_no_more_than_the_packages() -> None:
    copied = set(sources())
    folders = {name for name in copied if (REPOSITORY / name).is_dir()}
    admitted = {
        line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }

    assert folders == PACKAGES
    assert all((REPOSITORY / name).exists() for name in copied | admitted)
    assert {str(Path(name)) for name in copied - PACKAGES if "/" not in name} | PACKAGES == admitted - {
        "deploy/image"
    }
    assert [name for name in copied if "/" in name] == ["deploy/image/healthcheck.py"]
    assert "*" in (REPOSITORY / ".dockerignore").read_text().splitlines()


def test_every_package_is_checked_by_its_hash() -> None:
    installs = [
        words for rest in BUILD.all("RUN") for words in re.split(r"\s+&&\s+", rest) if " install " in words
    ]
    pip = [one for one in installs if "/pip" in one]

    assert sum("--require-hashes" in one and ".lock" in one for one in pip) == 2
    assert [one for one in pip if "--require-hashes" not in one] == [
        "/tools/bin/pip --python /opt/switchboard install --no-cache-dir --no-compile --no-deps /wheel/*.whl"
    ]
    assert not [rest for rest in IMAGE.all("RUN") if "pip" in rest]


def test_what_is_left_out_is_what_daphne_alone_brings() -> None:
    (removed,) = [rest for rest in BUILD.all("RUN") if " uninstall " in rest]
    names = removed.partition("--yes ")[2].partition(" &&")[0].split()
    head = (REPOSITORY / "requirements.txt").read_text().partition("# What the packages above bring")[0]
    asked = [Requirement(line.partition("#")[0]) for line in head.splitlines() if line[:1].isalpha()]
    kept = {
        name for one in asked if one.name != "daphne" for name in brought(one.name, frozenset(one.extras))
    }

    assert {canonicalize_name(name) for name in names} == brought("daphne") - kept - {"packaging"}


def brought(name: str, extras: frozenset[str] = frozenset(), seen: set[str] | None = None) -> set[str]:
    """A package and all that it needs here."""
    found = set() if seen is None else seen
    if canonicalize_name(name) in found:
        return found
    found.add(canonicalize_name(name))
    for one in map(Requirement, distribution(name).requires or []):
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            brought(one.name, frozenset(one.extras), found)
    return found


def test_it_is_not_root_and_is_told_where_it_may_write() -> None:
    env = IMAGE.pairs("ENV")
    user, group = IMAGE.last("USER").split(":")

    assert int(user) > 1000
    assert int(group) > 1000
    assert f"--uid {user} " in " ".join(IMAGE.all("RUN"))
    assert {IMAGE.last("VOLUME"), IMAGE.last("WORKDIR"), env["VAR_DIR"]} == {"/var/lib/switchboard"}


def test_no_secret_is_in_it_and_its_settings_are_known() -> None:
    env = set(IMAGE.pairs("ENV")) - {"PATH", "PYTHONDONTWRITEBYTECODE"}

    assert env <= known_variables()
    assert not [name for name in env if re.search("SECRET|KEY|PASSWORD|TOKEN|URL", name)]
    assert not BUILD.all("ARG") + IMAGE.all("ARG")


def test_the_server_gets_the_signal_and_its_port_is_the_one_that_is_exposed() -> None:
    assert (words(IMAGE.last("ENTRYPOINT")), words(IMAGE.last("CMD"))) == (["switchboard-server"], ["serve"])
    assert IMAGE.last("STOPSIGNAL") == "SIGTERM"
    assert IMAGE.last("EXPOSE") == IMAGE.pairs("ENV")["PORT"]


def test_the_labels_say_the_version() -> None:
    labels = IMAGE.pairs("LABEL")

    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_health_check_needs_nothing_but_python() -> None:
    *python, script = health_command(IMAGE)
    text = (REPOSITORY / "deploy" / "image" / Path(script).name).read_text()
    imports = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))

    assert python == ["python3", "-I", "-S"]
    assert imports <= sys.stdlib_module_names
    assert f"deploy/image/healthcheck.py {script}" in IMAGE.all("COPY")
