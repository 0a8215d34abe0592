"""Rows written as a file, and a file applied in one transaction. Uses the ORM."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.exceptions import ValidationError as ModelError
from django.db import transaction
from rest_framework.exceptions import ValidationError

from routing_app.core import protocol as protocols
from routing_app.core.audit.actor import Actor
from routing_app.core.audit.calls import target_of
from routing_app.core.audit.entries import OK, entry, insert
from routing_app.core.exports.core_sections import CORE
from routing_app.core.exports.document import Document, dump
from routing_app.core.exports.section import Fields, Section, Wanted
from routing_app.core.models import AuditEntry

MAX_ERRORS: Final = 50
CREATED: Final = "created"
CHANGED: Final = "changed"
DELETED: Final = "deleted"
ACTIONS: Final = {CREATED: "create", CHANGED: "change", DELETED: "delete"}
"""As the audit log names them."""


class ImportProblem(Exception):
    """Rows that cannot be; nothing was changed. `errors` begin with a line of the file."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Change:
    """One row that was made, changed (then the fields) or deleted."""

    action: str
    section: str
    label: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        fields = f" ({', '.join(self.fields)})" if self.fields else ""
        return f"{self.action} {self.section}: {self.label}{fields}"


@dataclass
class Summary:
    """What an import has done."""

    changes: list[Change] = field(default_factory=list)
    unchanged: int = 0
    missing: list[str] = field(default_factory=list)
    """What the file does not hold, and was left out."""
    secrets: list[str] = field(default_factory=list)
    """New secrets of rows that were made, each after its row."""

    def __str__(self) -> str:
        counts = Counter(change.action for change in self.changes)
        words = [f"{counts[action]} {action}" for action in ACTIONS]
        return ", ".join([*words, f"{self.unchanged} unchanged"])


def sections() -> dict[str, type[Section[Any]]]:
    """All lists by name, in the order of the file. Raises ImproperlyConfigured where two have one name."""
    found: dict[str, type[Section[Any]]] = {}
    for section in [*CORE, *(one for protocol in protocols.registered() for one in protocol.exports)]:
        if section.name in found:
            raise ImproperlyConfigured(f"{section.__module__}: the list {section.name} is there already")
        found[section.name] = section
    return found


def export(without: Collection[str] = (), with_hashes: bool = False) -> str:
    """The file of all rows that operators have set up, as they are at one moment."""
    with transaction.atomic():
        return dump(
            {
                name: list(_exported(section(), with_hashes))
                for name, section in sections().items()
                if name not in without
            }
        )


def _exported(section: Section[Any], with_hashes: bool) -> Iterator[Fields]:
    for row in section.rows():
        if section.is_exported(row):
            shown = section.shown(row)
            yield section.with_hashes(row, shown) if with_hashes else shown


def apply(document: Document, actor: Actor, prune: bool = False, dry_run: bool = False) -> Summary:
    """Make the rows of a file hold; what it does not name stays, or with `prune` is deleted from the lists
    that it has. All of it or nothing, and with `dry_run` nothing. Raises ImportProblem.
    """
    summary, entries, errors = Summary(), list[AuditEntry](), list[str]()
    chosen = [(section(), document[name]) for name, section in sections().items() if name in document]
    for section, wanted in chosen:
        section.look_up(wanted)
    with transaction.atomic():
        for section, wanted in chosen:
            _Applied(section, summary, entries, errors, actor).apply(wanted, prune)
        if errors:
            raise ImportProblem(errors[:MAX_ERRORS])
        insert(entries)
        if dry_run:
            transaction.set_rollback(True)
            summary.secrets.clear()
    return summary


@dataclass
class _Applied:
    """One list on its way."""

    section: Section[Any]
    summary: Summary
    entries: list[AuditEntry]
    errors: list[str]
    actor: Actor

    def apply(self, wanted: Sequence[Wanted], prune: bool) -> None:
        """Match rows, then make, change and delete."""
        before = len(self.summary.changes)
        stored: dict[tuple[str, ...], list[tuple[Any, Fields]]] = defaultdict(list)
        for row in self.section.rows():
            shown = self.section.with_hashes(row, self.section.shown(row))
            stored[self.section.key_of(shown)].append((row, shown))
        for number, one in self._unequal(wanted, stored):
            self._set(number, one, stored)
        if prune:
            for row, shown in (left for rows in stored.values() for left in rows):
                if self.section.is_exported(row):
                    self._note(DELETED, row, shown)
                    self.section.delete(row)
        self.summary.missing += [f"{self.section.name}: {missing}" for missing in self.section.missing]
        self.summary.secrets += [f"{self.section.name}: {secret}" for secret in self.section.secrets]
        if len(self.summary.changes) > before:
            # Robust: what is committed holds, and is read by every worker, also where it cannot be told.
            transaction.on_commit(self.section.told, robust=True)

    def _unequal(
        self, wanted: Sequence[Wanted], stored: dict[tuple[str, ...], list[tuple[Any, Fields]]]
    ) -> list[tuple[int, Wanted]]:
        """Rows of the file, by number, that no stored row equals; equal ones are taken out of `stored`."""
        left = []
        names = self.section.field_names()
        for number, one in enumerate(wanted):
            if unknown := sorted(set(one.fields) - names):
                expected = ", ".join(sorted(names))
                self._error(number, one, unknown[0], f"unknown; expected {expected}")
                continue
            alike = stored.get(self.section.key_of(one.fields), [])
            equal = next((found for found in alike if _holds(found[1], one.fields)), None)
            if equal is None:
                left.append((number, one))
            else:
                alike.remove(equal)
                self.summary.unchanged += 1
        return left

    def _set(self, number: int, one: Wanted, stored: dict[tuple[str, ...], list[tuple[Any, Fields]]]) -> None:
        alike = stored.get(self.section.key_of(one.fields), [])
        try:
            with transaction.atomic():
                if alike:
                    self._change(alike.pop(0)[0], one.fields)
                elif (row := self.section.make(dict(one.fields))) is not None:
                    self._note(CREATED, row, one.fields)
        except ValidationError as error:
            for path, message in _flat(error.detail):
                self._error(number, one, path, message)
        except ModelError as error:
            for path, message in _flat(
                error.message_dict if hasattr(error, "error_dict") else error.messages
            ):
                self._error(number, one, path, message)

    def _change(self, row: Any, fields: Fields) -> None:
        shown, state = self.section.shown(row), self.section.state(row)
        self.section.change(row, dict(fields))
        fresh = row.__class__._default_manager.get(pk=row.pk)
        after = self.section.shown(fresh)
        if self.section.state(fresh) == state:
            self.summary.unchanged += 1
            return
        changed = tuple(name for name in after if after[name] != shown.get(name))
        self._note(CHANGED, fresh, fields, changed or tuple(name for name in fields if name not in shown))

    def _note(self, action: str, row: Any, fields: Mapping[str, Any], changed: tuple[str, ...] = ()) -> None:
        change = Change(action, self.section.name, self.section.label(fields), changed)
        self.summary.changes.append(change)
        self.entries.append(entry(ACTIONS[action], target_of(row, row.pk), OK, self.actor))

    def _error(self, number: int, one: Wanted, path: str, message: str) -> None:
        place = f"{self.section.name}[{number}]"
        self.errors.append(f"{one.line}: {place}{f'.{path}' if path else ''}: {message}")


def _holds(shown: Fields, wanted: Fields) -> bool:
    """True where a stored row has all fields that are wanted; `true` is not 1."""
    return all(name in shown and _same(shown[name], value) for name, value in wanted.items())


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _flat(detail: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, sentence) of each error, as REST Framework and Django nest them."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            plain = name in ("non_field_errors", "__all__")
            yield from _flat(inner, path if plain else f"{path}.{name}" if path else str(name))
    elif isinstance(detail, list) and any(isinstance(inner, dict) for inner in detail):
        for number, inner in enumerate(detail):
            yield from _flat(inner, f"{path}[{number}]")
    elif isinstance(detail, list):
        for inner in detail:
            yield from _flat(inner, path)
    else:
        yield path, " ".join(str(detail).split())
