"""An app of a project that has the label of one of the broker's: the error says which, and what to do."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.embedding.project import PAGE
from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

CONFIG: Final = """
from django.apps import AppConfig

class CoreConfig(AppConfig):
    name = "mysite.core"
    label = "{label}"
    default_auto_field = "django.db.models.BigAutoField"
"""
FILES: Final = {
    "mysite/__init__.py": "",
    "mysite/core/__init__.py": "",
    "mysite/core/models.py": """
from django.db import models

class Order(models.Model):
    item = models.CharField(max_length=20)
    parent = models.ForeignKey("self", models.CASCADE, null=True)
""",
    "mysite/core/migrations/__init__.py": "",
    "mysite/core/migrations/0001_initial.py": """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("contenttypes", "0002_remove_content_type_name")]
    operations = [
        migrations.CreateModel("Order", [
            ("id", models.BigAutoField(
                auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
            )),
            ("item", models.CharField(max_length=20)),
        ])
    ]
""",
    "mysite/core/migrations/0002_parent.py": """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]
    operations = [
        migrations.AddField("Order", "parent", models.ForeignKey("core.order", models.CASCADE, null=True))
    ]
""",
}
START: Final = """
import django, switchboard, sys
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", {apps}],
    SECRET_KEY="x",
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "db"}}}},
)
django.setup()
from django.core.management import call_command
"""


def project(folder: Path, label: str) -> None:
    """A project whose app `core` has a label."""
    for name, text in {**FILES, "mysite/core/apps.py": CONFIG}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{label}", label))


def run(folder: Path, apps: str, script: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script in a project with some apps."""
    return subprocess.run(
        [sys.executable, "-c", START.format(apps=apps) + script],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("apps", ["'mysite.core', *switchboard.apps()", "*switchboard.apps(), 'mysite.core'"])
def test_both_apps_are_named_wherever_the_project_has_its_own(tmp_path: Path, apps: str) -> None:
    project(tmp_path, "core")
    told = run(tmp_path, apps).stderr.strip().rpartition("\n")[2]

    assert re.findall(r"^django\.core\.exceptions\.ImproperlyConfigured.*$", PAGE, re.MULTILINE) == [told]


def test_a_label_of_its_own_is_no_clash(tmp_path: Path) -> None:
    project(tmp_path, "my_core")

    assert "has the label" not in run(tmp_path, "'mysite.core', *switchboard.apps()").stderr


def test_an_app_with_a_table_gets_another_label(tmp_path: Path) -> None:
    """As the page says: label, migrations, SQL. Its rows are there, and Django finds nothing to do."""
    project(tmp_path, "core")
    write = "call_command('migrate')\nfrom mysite.core.models import Order\nOrder.objects.create(item='tea')"
    before = run(tmp_path, "'mysite.core'", write)
    assert before.returncode == 0, before.stderr

    project(tmp_path, "my_core")
    migration = tmp_path / "mysite/core/migrations/0002_parent.py"
    text = migration.read_text()
    migration.write_text(text.replace('("core"', '("my_core"').replace('"core.order"', '"my_core.order"'))
    [statements] = re.findall(r"^ *```sql\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    with closing(sqlite3.connect(tmp_path / "db")) as database:
        database.executescript(statements)
    read = "call_command('makemigrations', check_changes=True)\ncall_command('migrate', check_unapplied=True)"
    read += "\nfrom mysite.core.models import Order\nprint(Order._meta.db_table, Order.objects.get().item)"
    after = run(tmp_path, "'mysite.core'", read)

    assert after.returncode == 0, after.stderr
    assert after.stdout.splitlines()[-1] == "my_core_order tea"
