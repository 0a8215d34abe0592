"""A field of Django's forms for patterns of addresses, and for other lists of strings."""

from __future__ import annotations

from typing import Any

from django import forms

from routing_app.core import json
from routing_app.core.access.patterns import check_patterns


class LinesField(forms.CharField):
    """A list of strings, one in a line; a JSON list is taken as well."""

    widget = forms.Textarea(attrs={"rows": 4, "cols": 60, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        """The lines."""
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """The list. Raises ValidationError."""
        text = (super().to_python(value) or "").strip()
        try:
            lines = json.loads(text) if text.startswith("[") else text.splitlines()
        except json.NotJSON:
            raise forms.ValidationError("expected one in a line") from None
        if isinstance(lines, list) and all(isinstance(one, str) for one in lines):
            lines = [stripped for one in lines if (stripped := one.strip())]
        return lines


class PatternsField(LinesField):
    """Patterns of addresses."""

    def to_python(self, value: Any) -> Any:
        """The list. Raises ValidationError."""
        patterns = super().to_python(value)
        check_patterns(patterns)
        return patterns
