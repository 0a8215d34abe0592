"""A migration that workers of the version before cannot bear does not come in unseen."""

from __future__ import annotations

from typing import Any, Final

import pytest
from django.apps import apps
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.db.models.functions import Now, Random, Upper

from routing_app.core.operations import AddIndexBesideWrites
from tests.upgrades import next_version
from tests.upgrades.safety import faults

pytestmark = pytest.mark.once

PACKAGES: Final = ("routing_app.", "sessions_app", "broker_project")
EXCEPTIONS: Final[dict[str, str]] = {}
"""`app.0007_name` of a migration that does more, and why workers of the version before bear it: a column that
is dropped has not been in the code of the version before, for example."""


@pytest.fixture(scope="module")
def loader() -> MigrationLoader:
    return MigrationLoader(None)


def test_every_migration_after_the_first_is_safe_while_the_version_before_runs(
    loader: MigrationLoader,
) -> None:
    ours = {app.label for app in apps.get_app_configs() if app.name.startswith(PACKAGES)}
    later = {
        f"{label}.{name}": faults(migration, loader.project_state((label, name), at_end=False))
        for (label, name), migration in loader.disk_migrations.items()
        if label in ours and not name.startswith("0001_")
    }

    assert {name: found for name, found in later.items() if found and name not in EXCEPTIONS} == {}
    assert EXCEPTIONS.keys() <= later.keys()


@pytest.mark.parametrize("app", next_version.APPS, ids=lambda app: app.label)
def test_the_migrations_of_the_two_version_test_are_safe(
    loader: MigrationLoader, app: next_version.Grown
) -> None:
    state = loader.project_state((app.label, "0001_initial"))
    for text in app.migrations.values():
        module: dict[str, Any] = {}
        exec(text, module)
        migration = module["Migration"]("made", app.label)

        assert faults(migration, state) == []
        migration.mutate_state(state, preserve=False)


@pytest.fixture(scope="module")
def before() -> ProjectState:
    """Two tables of an app."""
    state = ProjectState()
    for name in ("Thing", "Other"):
        fields: list[Any] = [key(), ("name", text())]
        migrations.CreateModel(name, fields).state_forwards("shop", state)
    return state


def judged(before: ProjectState, *operations: Any, atomic: bool = True) -> list[str]:
    made = type("Made", (migrations.Migration,), {"operations": list(operations), "atomic": atomic})
    return faults(made("0002_made", "shop"), before)


def text(**options: Any) -> Any:
    return models.CharField(**{"max_length": 20, **options})


def reference(**options: Any) -> Any:
    return models.ForeignKey("shop.Other", models.CASCADE, null=True, db_index=False, **options)


def key() -> Any:
    return ("id", models.BigAutoField(primary_key=True))


INDEX: Final = models.Index(fields=["name"], name="thing_name")
GOOD: Final[dict[str, list[Any]]] = {
    "a nullable column": [migrations.AddField("Thing", "more", text(null=True))],
    "a database default": [migrations.AddField("Thing", "more", text(db_default=""))],
    "the time of the migration": [migrations.AddField("Thing", "at", models.DateTimeField(db_default=Now()))],
    "a reference without constraint": [migrations.AddField("Thing", "other", reference(db_constraint=False))],
    "a table": [migrations.CreateModel("New", [key(), ("name", text(unique=True))])],
    "a table and one that refers to it": [
        migrations.CreateModel("New", [key()]),
        migrations.CreateModel("Newer", [key(), ("new", models.ForeignKey("shop.New", models.CASCADE))]),
    ],
    "a column of a table that is new": [
        migrations.CreateModel("New", [key()]),
        migrations.AddField("Thing", "more", text(null=True)),
        migrations.AddField("Thing", "most", text(null=True)),
    ],
    "words for people": [migrations.AlterField("Thing", "name", text(help_text="of it", blank=True))],
    "a longer text": [migrations.AlterField("Thing", "name", text(max_length=30))],
    "a default of the code": [migrations.AlterField("Thing", "name", text(default="x"))],
    "options of the admin": [migrations.AlterModelOptions("Thing", {"ordering": ["name"]})],
    "what the code alone forgets": [
        migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("Thing", "name")])
    ],
}
BAD: Final[dict[str, list[Any]]] = {
    "a removed field": [migrations.RemoveField("Thing", "name")],
    "a removed table": [migrations.DeleteModel("Thing")],
    "a renamed field": [migrations.RenameField("Thing", "name", "title")],
    "a renamed table": [migrations.RenameModel("Thing", "Item")],
    "another name of a table": [migrations.AlterModelTable("Thing", "items")],
    "not null, no default": [migrations.AddField("Thing", "more", text())],
    "not null, a default of the code": [migrations.AddField("Thing", "more", text(default="x"))],
    "another type": [migrations.AlterField("Thing", "name", models.IntegerField())],
    "a shorter text": [migrations.AlterField("Thing", "name", text(max_length=10))],
    "null from now on": [migrations.AlterField("Thing", "name", text(null=True))],
    "unique from now on": [migrations.AlterField("Thing", "name", text(unique=True))],
    "a unique column": [migrations.AddField("Thing", "more", text(null=True, unique=True))],
    "an index in the way of writes": [migrations.AddField("Thing", "more", text(null=True, db_index=True))],
    "Django's index": [migrations.AddIndex("Thing", INDEX)],
    "a removed index": [migrations.RemoveIndex("Thing", "thing_name")],
    "a constraint": [
        migrations.AddConstraint(
            "Thing", models.CheckConstraint(condition=models.Q(name="x"), name="thing_x")
        )
    ],
    "unique together": [migrations.AlterUniqueTogether("Thing", {("name",)})],
    "a default that writes all rows": [
        migrations.AddField("Thing", "more", models.FloatField(db_default=Random()))
    ],
    "a generated column": [
        migrations.AddField(
            "Thing",
            "more",
            models.GeneratedField(expression=Upper("name"), output_field=text(), db_persist=True),
        )
    ],
    "a reference": [migrations.AddField("Thing", "other", reference())],
    "a new table that refers to an old one": [
        migrations.CreateModel("New", [key(), ("other", models.ForeignKey("shop.Other", models.CASCADE))])
    ],
    "many references": [migrations.AddField("Thing", "others", models.ManyToManyField("shop.Other"))],
    "code": [migrations.RunPython(migrations.RunPython.noop)],
    "SQL": [migrations.RunSQL("SELECT 1")],
    "SQL beside the state": [migrations.SeparateDatabaseAndState([migrations.RunSQL("SELECT 1")])],
    "two tables at once": [
        migrations.AddField("Thing", "more", text(null=True)),
        migrations.AddField("Other", "more", text(null=True)),
    ],
}


@pytest.mark.parametrize("operations", GOOD.values(), ids=GOOD)
def test_what_is_safe_is_allowed(before: ProjectState, operations: list[Any]) -> None:
    assert judged(before, *operations) == []


@pytest.mark.parametrize("operations", BAD.values(), ids=BAD)
def test_what_is_not_safe_is_refused(before: ProjectState, operations: list[Any]) -> None:
    assert len(judged(before, *operations)) == 1


def test_what_is_not_atomic_is_one_operation(before: ProjectState) -> None:
    """Else a second try would begin with what the first one has done."""
    index = AddIndexBesideWrites("Thing", INDEX)
    column = migrations.AddField("Thing", "more", text(null=True))

    assert judged(before, index, atomic=False) == []
    assert len(judged(before, column, index, atomic=False)) == 1
    assert len(judged(before, index, atomic=True)) == 1
