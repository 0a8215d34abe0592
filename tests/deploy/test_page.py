"""docs/image.md: its commands name what there is, and its numbers are those of the files."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml

from switchboard import __version__
from tests.deploy.dockerfile import stages
from tests.deploy.files import compose, known_variables, manifests
from tests.deploy.test_image import LARGEST
from tests.documents.blocks import ALL
from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

PAGE = (REPOSITORY / "docs" / "image.md").read_text(encoding="utf-8")
IMAGE = stages()[-1]


def commands() -> list[list[str]]:
    """Every command of the page, in words. Nothing here runs them: they need an engine, or a cluster."""
    shown = [block.text for block in ALL["docs/image.md"] if block.language == "sh"]
    lines = [line for text in shown for line in text.replace("\\\n", "").splitlines()]
    return [shlex.split(line) for line in lines]


def test_the_commands_are_those_that_the_files_are_for() -> None:
    assert [words[:2] for words in commands()] == [
        ["docker", "build"],
        ["docker", "run"],
        ["docker", "compose"],
        ["docker", "compose"],
        ["kubectl", "create"],
        ["kubectl", "create"],
        ["kubectl", "apply"],
    ]
    build, run, _, logs, namespace, secret, apply = commands()
    assert f"switchboard:{__version__}" in build
    assert run[-1] == f"switchboard:{__version__}"
    assert f"switchboard:{IMAGE.last('VOLUME')}" in run
    assert f"127.0.0.1:8000:{IMAGE.last('EXPOSE')}" in run
    assert logs[-1] in compose()["services"]
    assert namespace[-1] == secret[secret.index("--namespace") + 1] == "switchboard"
    assert (REPOSITORY / apply[-1] / "kustomization.yaml").exists()


def test_the_secret_holds_what_the_config_map_does_not() -> None:
    secret = commands()[5]
    keys = {word.removeprefix("--from-literal=").partition("=")[0] for word in secret if word[:6] == "--from"}

    assert {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"} <= keys <= known_variables()
    assert not keys & set(manifests()["ConfigMap"]["data"])
    assert secret[2:5] == ["secret", "generic", "switchboard"]


def test_the_adapter_finds_the_metric_that_the_autoscaler_wants() -> None:
    (text,) = (block.text for block in ALL["docs/image.md"] if block.language == "yaml")
    (rule,) = yaml.safe_load(text)["rules"]
    metric: dict[str, Any] = manifests()["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]

    assert rule["seriesQuery"].partition("{")[0] == metric["name"]
    assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}


def test_the_numbers_are_those_of_the_files() -> None:
    user = IMAGE.last("USER").partition(":")[0]
    autoscaler = manifests()["HorizontalPodAutoscaler"]["spec"]
    pods = manifests()["Deployment"]["spec"]["template"]["spec"]

    assert f"| user | {user}" in PAGE
    assert f"(limit {LARGEST // 1_000_000})" in PAGE
    assert f"`{compose()['networks']['front']['ipam']['config'][0]['subnet']}`" in PAGE
    assert f"{autoscaler['minReplicas']} to {autoscaler['maxReplicas']} pods" in PAGE
    assert f"{pods['terminationGracePeriodSeconds']} seconds at most" in PAGE
