"""Fields of REST bodies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

from django.db import IntegrityError, models, transaction
from rest_framework import serializers

M = TypeVar("M", bound=models.Model)


class StringField(serializers.CharField):
    """A string, not a number: of `1.0` and `1e0` nobody knows which spelling was meant."""

    def to_internal_value(self, data: Any) -> str:
        """The string. Raises ValidationError."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class NumberField(serializers.FloatField):
    """A number, not a string of one, nor a boolean."""

    def to_internal_value(self, data: Any) -> float:
        """The number. Raises ValidationError."""
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        value: float = super().to_internal_value(data)
        return value


class WholeNumberField(serializers.IntegerField):
    """The same for whole numbers."""

    def to_internal_value(self, data: Any) -> int:
        """The number. Raises ValidationError."""
        if isinstance(data, bool) or not isinstance(data, int | float) or data != int(data):
            self.fail("invalid")
        return int(data)


class TimeField(serializers.DateTimeField):
    """A time of a query string in ISO 8601; one without a zone is UTC."""

    def to_internal_value(self, value: Any) -> datetime:
        """The time. Raises ValidationError."""
        # In a query string + is a blank, which no zone begins with.
        for candidate in (value, "+".join(str(value).rsplit(" ", 1))):
            try:
                at = datetime.fromisoformat(candidate)
                at = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
            except (TypeError, ValueError, OverflowError):
                continue
            if 1 < at.year < 9999:  # so that an hour before or after it is a time, too
                return at
        raise serializers.ValidationError("expected a time such as 2026-11-29T06:00:00Z (ISO 8601)")


class StrictModelSerializer(serializers.ModelSerializer[M]):
    """A row whose string columns take only strings of JSON."""

    serializer_field_mapping: ClassVar = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.CharField: StringField,
        models.TextField: StringField,
    }

    def save(self, **kwargs: Any) -> M:
        """The row. Raises ValidationError, also where another request made the same one after the check."""
        try:
            with transaction.atomic():
                return super().save(**kwargs)
        except IntegrityError:
            self.run_validation(self.initial_data)  # finds the other row now, and the words for it
            raise
