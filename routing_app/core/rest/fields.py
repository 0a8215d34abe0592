"""Fields of REST bodies."""

from __future__ import annotations

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
