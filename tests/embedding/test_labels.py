"""An app of a project that has the label of one of the broker's: the error says which, and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

CONFIG = """
from django.apps import AppConfig

class ShopConfig(AppConfig):
    name = "shop"
    label = "{label}"
"""
START = """
import django, switchboard
from django.conf import settings
settings.configure(INSTALLED_APPS=[{apps}], SECRET_KEY="x")
django.setup()
"""


def error(folder: Path, label: str, apps: str) -> str:
    """The last line of a start with an app `shop` that has a label; "" without an error."""
    shop = folder / "shop"
    shop.mkdir()
    (shop / "__init__.py").touch()
    (shop / "apps.py").write_text(CONFIG.format(label=label))
    done = subprocess.run(
        [sys.executable, "-c", START.format(apps=apps)],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip().rpartition("\n")[2]


@pytest.mark.parametrize("apps", ["'shop', *switchboard.apps()", "*switchboard.apps(), 'shop'"])
def test_both_apps_are_named_wherever_the_project_has_its_own(tmp_path: Path, apps: str) -> None:
    kind, _, told = error(tmp_path, "events", apps).partition(": ")

    assert kind == "django.core.exceptions.ImproperlyConfigured"
    assert told == (
        "INSTALLED_APPS: shop has the label 'events', as the broker's routing_app.events has. Give yours "
        'another one, such as `label = "my_events"` in its AppConfig: docs/embedding.md#labels'
    )


def test_a_label_of_its_own_is_no_clash(tmp_path: Path) -> None:
    assert "has the label" not in error(tmp_path, "my_events", "'shop', *switchboard.apps()")
