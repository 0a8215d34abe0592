"""The health of the original in the OpenAPI document; its view is plain Django."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

TAG: Final = "events"
HEALTH: Final = {
    "operationId": "healthz",
    "summary": "Whether the server answers",
    "tags": [TAG],
    "responses": {"200": {"description": "It does, with an empty body."}},
}


def document(result: dict[str, Any]) -> None:
    """Add the path to an OpenAPI document."""
    result["paths"]["/healthz"] = {"get": deepcopy(HEALTH)}
