"""Readers of request bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from routing_app.core.json import NotJSON, loads


class StrictJSONParser(JSONParser):
    """JSON by the rule of `core.json`."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The value of a body. Raises ParseError."""
        try:
            return loads(stream.read())
        except NotJSON as error:
            raise ParseError(f"JSON parse error - {error}") from None
