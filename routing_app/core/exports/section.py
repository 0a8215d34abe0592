"""One list of the file: how its rows are read, known again, made, changed and deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from django.db.models import Model
from rest_framework.exceptions import ValidationError
from rest_framework.serializers import ModelSerializer

M = TypeVar("M", bound=Model)
Fields = dict[str, Any]


class Wanted(NamedTuple):
    """A row as the file has it, and the line where it begins."""

    fields: Fields
    line: int


class Section(Generic[M]):
    """The rows of one model; an instance serves one export or import.

    By default `serializer_class` says what a row has, and makes and changes it, as REST does: its fields
    that are not read-only, in its order.
    """

    name: ClassVar[str]
    model: ClassVar[type[Model]]
    serializer_class: ClassVar[type[ModelSerializer[Any]]]
    identity: ClassVar[Sequence[str]]
    """Fields that a row is known by again; where several rows have the same, one that is equal in all fields
    comes first."""
    more_fields: ClassVar[Sequence[str]] = ()
    """Fields beside those of the serializer."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        """A sentence for each thing that the file does not hold, and that had to be left out."""
        self.secrets: list[str] = []
        """New secrets of rows that were made, each after its row: they are shown once."""

    # --- reading ------------------------------------------------------------------------------------------

    def rows(self) -> Iterable[M]:
        """All rows, in any order."""
        return self.model._default_manager.all()  # type: ignore[return-value]  # of this model

    def is_exported(self, row: M) -> bool:
        """True for a row that an operator has set up; others are neither written nor pruned."""
        return True

    def shown(self, row: M) -> Fields:
        """A row as the file has it: plain values, without a secret."""
        found: Fields = {}
        for name, field in self.serializer_class().fields.items():
            if not field.read_only:
                value = field.get_attribute(row)
                found[name] = None if value is None else field.to_representation(value)
        return found

    def with_hashes(self, row: M, shown: Fields) -> Fields:
        """The same with hashes of secrets, where it is safe to keep these."""
        return shown

    def state(self, row: M) -> Any:
        """Everything of a row that an import may change, secrets included: to compare, not to show."""
        return self.shown(row)

    def key_of(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """The values of `identity`; a field that is left out has its default."""
        return tuple(str(fields.get(name, self._default(name))) for name in self.identity)

    def label(self, fields: Mapping[str, Any]) -> str:
        """A row in a few words, without a secret."""
        return " ".join(self.key_of(fields))

    def field_names(self) -> set[str]:
        """The fields that a row of the file may have."""
        fields = self.serializer_class().fields.items()
        return {name for name, field in fields if not field.read_only} | set(self.more_fields)

    # --- writing, in one transaction ----------------------------------------------------------------------

    def look_up(self, wanted: Sequence[Wanted]) -> None:
        """Do before the transaction what takes time."""

    def make(self, fields: Fields) -> M | None:
        """A new row; None where it cannot be made of what the file holds. Raises ValidationError."""
        return self._saved(self.serializer_class(data=fields, context=self.context(fields)))

    def change(self, row: M, fields: Fields) -> None:
        """Change these fields of a row. Raises ValidationError."""
        context = self.context(fields)
        self._saved(self.serializer_class(row, data=fields, partial=True, context=context))

    def delete(self, row: M) -> None:
        """Delete a row."""
        row.delete()

    def context(self, fields: Fields) -> dict[str, Any]:
        """For the serializer."""
        return {}

    def told(self) -> None:
        """After the commit, tell every process that rows have changed."""

    def _saved(self, serializer: ModelSerializer[Any]) -> M:
        serializer.is_valid(raise_exception=True)
        row: M = serializer.save()
        row.full_clean()
        return row

    def _default(self, name: str) -> Any:
        return self.model._meta.get_field(name).get_default()  # type: ignore[union-attr]  # a column


def check_items(items: Any, names: Iterable[str], field: str) -> list[Fields]:
    """A list within a row, whose items have no other fields than these. Raises ValidationError."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValidationError({field: ["expected a list of rows"]})
    for number, item in enumerate(items):
        if unknown := sorted(set(item) - set(names)):
            expected = ", ".join(names)
            raise ValidationError({f"{field}[{number}].{unknown[0]}": [f"unknown; expected {expected}"]})
    return items
