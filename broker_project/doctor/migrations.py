"""Migrations that are not applied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.migrations.executor import MigrationExecutor

from broker_project.doctor.finding import Finding, error, ok

NAME = "migrations"
SHOWN = 3


def read(connection: Any) -> list[str]:
    """`app.name` of each that a database lacks. Raises DatabaseError."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def judge(missing: Sequence[str]) -> Finding:
    """All have to be there."""
    if not missing:
        return ok(NAME, "all are applied")
    shown = ", ".join([*missing[:SHOWN], *(["…"] if len(missing) > SHOWN else [])])
    return error(NAME, f"{len(missing)} are not applied: {shown}", "run `manage.py migrate`")
