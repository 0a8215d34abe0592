"""The next version of the project: a copy of the tree in which each app has more columns and a table.

Its migrations do all that a migration may do while workers of the version before run.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services.databases import REPOSITORY

PACKAGES: Final = ("broker_project", "routing_app", "sessions_app", "switchboard", "switchboard_server")
ADDED: Final = "0002_added"
INDEXED: Final = "0003_indexed"


@dataclass(frozen=True)
class Grown:
    """An app that grows: the model whose table has more columns, and the field that is indexed."""

    label: str
    folder: str
    models: str
    model: str
    field: str

    @property
    def table(self) -> str:
        """The table of the model."""
        return f"{self.label}_{self.model.lower()}"

    @property
    def migrations(self) -> dict[str, str]:
        """The text of each new migration."""
        return {
            ADDED: MIGRATION.format(
                before="0001_initial",
                label=self.label,
                atomic=True,
                operations=COLUMNS.format(model=self.model),
            ),
            INDEXED: MIGRATION.format(
                before=ADDED,
                label=self.label,
                atomic=False,
                operations=INDEX.format(model=self.model, field=self.field, label=self.label),
            ),
        }


APPS: Final = (
    Grown("core", "routing_app/core", "models/__init__.py", "ConnectionRecord", "peer"),
    Grown("tokens", "routing_app/tokens", "models.py", "RegisteredToken", "note"),
    Grown("rooms", "routing_app/rooms", "models.py", "Room", "note"),
    Grown("events", "routing_app/events", "models.py", "LoginToken", "revoked_because"),
    Grown("sessions_app", "sessions_app", "models.py", "Session", "device_id"),
)
MIGRATION: Final = """
from django.db import migrations, models
from routing_app.core.operations import AddIndexBesideWrites

class Migration(migrations.Migration):
    dependencies = [("{label}", "{before}")]
    atomic = {atomic}
    operations = [
{operations}
    ]
"""
COLUMNS: Final = """
        migrations.AddField("{model}", "later_note", models.TextField(null=True)),
        migrations.AddField("{model}", "later_rank", models.IntegerField(db_default=7)),
        migrations.CreateModel("Later", [("id", models.BigAutoField(primary_key=True))]),
"""
INDEX: Final = """
        AddIndexBesideWrites("{model}", models.Index(fields=["{field}"], name="{label}_field")),
"""
MODELS: Final = """
from django.db import models as _models

{model}.add_to_class("later_note", _models.TextField(null=True))
{model}.add_to_class("later_rank", _models.IntegerField(db_default=7))

class Later(_models.Model):
    pass
"""


def make(folder: Path) -> Path:
    """Copy the tree into a folder and let each app grow; the tree."""
    tree = folder / "next"
    tree.mkdir()
    shutil.copy(REPOSITORY / "manage.py", tree)
    for package in PACKAGES:
        # With times and bytecode: Python need not compile what has not changed.
        shutil.copytree(REPOSITORY / package, tree / package, ignore=shutil.ignore_patterns("node_modules"))
    for app in APPS:
        for name, text in app.migrations.items():
            (tree / app.folder / "migrations" / f"{name}.py").write_text(text, encoding="utf-8")
        with (tree / app.folder / app.models).open("a", encoding="utf-8") as file:
            file.write(MODELS.format(model=app.model))
    return tree
