"""What a migration may do while workers of the version before run, as docs/upgrades.md lists it.

All that is not listed is refused: code of the version before knows neither the new columns nor that old
ones are gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.db.migrations import Migration
from django.db.migrations.operations import (
    AddField,
    AlterField,
    AlterModelManagers,
    AlterModelOptions,
    CreateModel,
    SeparateDatabaseAndState,
)
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import CharField, Field, GeneratedField, Value
from django.db.models.expressions import Expression
from django.db.models.functions import Now

from routing_app.core.operations import AddIndexBesideWrites

OF_DJANGO_ALONE: Final = (AlterModelManagers, AlterModelOptions)
"""They change no table."""
CONSTANT: Final = (Value, Now)
"""Defaults that are the same for all rows: PostgreSQL writes no row for them."""


def faults(migration: Migration, before: ProjectState) -> list[str]:
    """What workers of the version before would suffer from; `before` is the state without the migration."""
    found: list[str] = []
    made: set[str] = set()
    changed: set[str] = set()
    state = before.clone()
    operations = [part for one in migration.operations for part in _parts(one)]
    for operation in operations:
        app = migration.app_label
        reasons = _faults(operation, app, state, made, migration.atomic)
        found += [f"{_name(operation)}: {why}" for why in reasons]
        if isinstance(operation, CreateModel):
            made.add(f"{app}.{operation.name_lower}")
        elif isinstance(operation, AddField | AlterField) and _key(app, operation) not in made:
            changed.add(_key(app, operation))
        operation.state_forwards(app, state)
    if len(changed) > 1:
        found.append(f"one table for each migration, but it changes {', '.join(sorted(changed))}")
    if not migration.atomic and len(operations) > 1:
        found.append("a migration that is not atomic has one operation, so that it can be tried again")
    return found


def _parts(operation: Operation) -> list[Operation]:
    """The operations on the database."""
    if isinstance(operation, SeparateDatabaseAndState):
        return [part for one in operation.database_operations for part in _parts(one)]
    return [operation]


def _name(operation: Operation) -> str:
    return f"{type(operation).__name__}({operation.describe()})"


def _key(app: str, operation: AddField | AlterField) -> str:
    return f"{app}.{operation.model_name_lower}"


def _faults(
    operation: Operation, app: str, state: ProjectState, made: set[str], atomic: bool
) -> Iterator[str]:
    match operation:
        case _ if isinstance(operation, OF_DJANGO_ALONE):
            return
        case CreateModel():
            model = f"{app}.{operation.name_lower}"
            for name, field in operation.fields:
                yield from (f"{name}: {why}" for why in _faults_of_relation(field, model, made | {model}))
        case AddField():
            yield from _faults_of_relation(operation.field, _key(app, operation), made)
            if _key(app, operation) not in made:
                yield from _faults_of_column(operation.field)
        case AlterField():
            old = state.models[app, operation.model_name_lower].get_field(operation.name)
            if not _is_the_same_column(old, operation.field):
                yield "the column is changed"
        case AddIndexBesideWrites():
            if atomic:
                yield "the migration has to say atomic = False"
        case _:
            yield "the list does not have it"


def _faults_of_column(field: Field[Any, Any]) -> Iterator[str]:
    if field.many_to_many:
        return
    if isinstance(field, GeneratedField):
        yield "all rows are written again for a generated column"
        return
    if not field.null and not field.has_db_default():
        yield "neither null nor db_default: inserts of the version before fail"
    default = field.db_default if field.has_db_default() else None
    if isinstance(default, Expression) and not isinstance(default, CONSTANT):
        yield "all rows are written again for a db_default that is not the same for all"
    if field.unique:
        yield "unique: writes wait until it is checked, and those of the version before may break it"
    elif getattr(field, "db_index", False):
        yield "db_index: writes wait until the index is made; use AddIndexBesideWrites"


def _faults_of_relation(field: Field[Any, Any], model: str, made: set[str]) -> Iterator[str]:
    """The version before deletes rows, and does not know that others refer to them.

    A table in between refers to both ends.
    """
    relation = field.remote_field
    if relation is None or not getattr(relation if field.many_to_many else field, "db_constraint", True):
        return
    ends = {_label(relation.model, model), *([model] if field.many_to_many else [])}
    if not ends <= made:
        yield "db_constraint: deletes of the version before fail"


def _label(target: Any, model: str) -> str:
    """`app.model` of a model, its name, or "self"."""
    if not isinstance(target, str):
        return str(target._meta.label_lower)
    if target == "self":
        return model
    app = model.partition(".")[0]
    return target.lower() if "." in target else f"{app}.{target.lower()}"


def _is_the_same_column(old: Field[Any, Any], new: Field[Any, Any]) -> bool:
    """True where PostgreSQL has nothing to do, or allows a longer text."""
    if isinstance(old, CharField) and isinstance(new, CharField) and old.max_length and new.max_length:
        if new.max_length < old.max_length:
            return False
        longer = {"max_length"}
    else:
        longer = set()
    return _of_database(old, longer) == _of_database(new, longer)


def _of_database(field: Field[Any, Any], left_out: set[str]) -> tuple[Any, ...]:
    _, path, arguments, options = field.deconstruct()
    ignored = {*field.non_db_attrs, "default", *left_out}
    return path, arguments, {name: value for name, value in options.items() if name not in ignored}
