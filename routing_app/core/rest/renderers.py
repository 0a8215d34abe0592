"""Writers of answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import JSONRenderer


class _AsciiRenderer(JSONRenderer):
    ensure_ascii = True


class AnyStringRenderer(JSONRenderer):
    """JSON, also of strings that UTF-8 cannot hold: a message about a wrong value repeats it as it came, and
    JSON may hold half of a surrogate pair."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The bytes of an answer."""
        try:
            return super().render(data, accepted_media_type, renderer_context)
        except UnicodeEncodeError:
            return _AsciiRenderer().render(data, accepted_media_type, renderer_context)
