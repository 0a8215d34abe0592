"""What the files of deploy/ say, read once for the tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from django.conf import settings

from tests.services.databases import REPOSITORY

COMPOSE: Final = REPOSITORY / "compose.yaml"
KUBERNETES: Final = REPOSITORY / "deploy" / "kubernetes"
FIRST_RUN: Final = {"DJANGO_SUPERUSER_USERNAME", "DJANGO_SUPERUSER_PASSWORD", "SWITCHBOARD_API_KEY"}


def known_variables() -> set[str]:
    """Environment variables that the server reads."""
    names = {option.name for option in settings.SWITCHBOARD_ENVIRONMENT.options} | FIRST_RUN
    return names | {f"{name}_FILE" for name in names}


@cache
def compose() -> dict[str, Any]:
    """compose.yaml."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return found


@cache
def kustomization() -> dict[str, Any]:
    """The file that names the manifests."""
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
    return found


@cache
def manifests() -> dict[str, dict[str, Any]]:
    """All objects that the kustomization names, by kind; there is one of each."""
    files = [KUBERNETES / name for name in kustomization()["resources"]]
    objects = [one for file in files for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    found = {one["kind"]: one for one in objects}
    assert len(found) == len(objects)
    return found


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each container of the manifests, with the template of its pod."""
    for kind in ("Job", "Deployment"):
        pod = manifests()[kind]["spec"]["template"]["spec"]
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield pod, container


def location(file: Path, path: str) -> str:
    """The block of a path in a site of nginx."""
    found = re.search(rf"location {re.escape(path)} {{(.*?)}}", file.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{file} has no location {path}"
    return found[1]
