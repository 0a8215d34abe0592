"""Settings that pages show are settings that there are, and do what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from django.conf import settings

from routing_app.core.cluster.redis_urls import sentinel_of
from tests.documents.blocks import ALL, Block
from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

KNOWN: Final = {option.name for option in settings.SWITCHBOARD_ENVIRONMENT.options}
MADE: Final = "Yq3n" * 4 + "8sKd" * 4 + "pW0z" * 8
"""In place of what the reader has `openssl rand` make."""
SHOWN: Final = re.compile(r"(?:^|(?<=\S ))([A-Z][A-Z0-9_]+)=\S", re.MULTILINE)


def with_settings() -> list[Block]:
    """Blocks that start a server, and files of its environment."""
    shown = [block for found in ALL.values() for block in found]
    return [block for block in shown if block.language == "ini" or re.search(r"make run|serve$", block.text)]


def test_every_setting_of_a_block_is_one() -> None:
    named = {(name, block.place) for block in with_settings() for name in SHOWN.findall(block.text)}

    assert len({name for name, _ in named}) > 20
    assert [one for one in named if one[0] not in KNOWN] == []


def test_the_sentinels_of_the_page_on_scaling_are_read() -> None:
    [block] = [block for block in ALL["docs/scale.md"] if "sentinel://" in block.text]
    name, _, url = block.text.strip().partition("=")

    assert name == "REDIS_URL"
    assert sentinel_of(url)["sentinels"] == [(f"sentinel-{n}", 26379) for n in (1, 2, 3)]


def manage(folder: Path, *arguments: str, **settings: str) -> str:
    """What a command of `manage.py` prints with some settings."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"VAR_DIR": str(folder), "DATABASE_URL": "", "REDIS_URL": ""} | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_settings_of_the_page_on_security_are_safe(tmp_path: Path) -> None:
    """docs/security.md."""
    [block] = [block for block in ALL["docs/security.md"] if block.language == "ini"]
    shown = dict(line.split("=", 1) for line in block.text.splitlines())
    shown = {name: MADE if value.startswith("<of: openssl") else value for name, value in shown.items()}

    checks = json.loads(manage(tmp_path, "doctor", "--json", **shown, METRICS_OPEN="yes"))["checks"]
    assert [check["name"] for check in checks if check["name"].startswith("setting ")] == [
        "setting METRICS_OPEN"
    ]
    assert "no issues" in manage(tmp_path, "check", "--deploy", **shown)
