"""How drf-spectacular makes the OpenAPI document of the broker."""

from __future__ import annotations

from typing import Any, Final

from routing_app import __version__

SETTINGS: Final[dict[str, Any]] = {
    "TITLE": "Switchboard",
    "DESCRIPTION": "One broker, five WebSocket protocols: the REST side.",
    "VERSION": __version__,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "routing_app.core.rest.schema.document_protocols",
    ],
    # pydantic describes the bodies of walkers in the JSON Schema of OpenAPI 3.1.
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "TokenSource": "routing_app.tokens.models.Source",
        "Who": "routing_app.events.models.Who",
    },
}
