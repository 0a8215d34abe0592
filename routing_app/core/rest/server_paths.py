"""Health and metrics in the OpenAPI document; their views are no views of REST Framework."""

from __future__ import annotations

from typing import Any, Final

TAG: Final = "server"
STATUS: Final = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string"}},
    "additionalProperties": {"type": "string"},
}
READY: Final = {"status": "ready", "database": "ok", "layer": "ok"}
NEEDS_KEY: Final = "an API key with the scope read is needed\n"
SAMPLE: Final = 'switchboard_connections{protocol="rooms"} 2.0\n'


def _text(description: str, example: str) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}, "example": example}}
    return {"description": description, "content": content}


def _status(description: str, example: dict[str, str]) -> dict[str, Any]:
    content = {"application/json": {"schema": STATUS, "example": example}}
    return {"description": description, "content": content}


PATHS: Final = {
    "/health/live": {
        "get": {
            "operationId": "live",
            "summary": "Whether the event loop runs",
            "tags": [TAG],
            "responses": {"200": _status("It does.", {"status": "live"})},
        }
    },
    "/health/ready": {
        "get": {
            "operationId": "ready",
            "summary": "Whether this process can take new clients",
            "tags": [TAG],
            "responses": {
                "200": _status("Database and layer answer. Of several Redis servers one has to.", READY),
                "503": _status(
                    "One of them does not answer, or the process stops.",
                    {**READY, "status": "not ready", "database": "OperationalError"},
                ),
            },
        }
    },
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "summary": "The numbers of this server, for Prometheus",
            "tags": [TAG],
            "security": [{"apiKey": []}, {"bearer": []}],
            "responses": {
                "200": _text("The metrics of all workers of this host.", SAMPLE),
                "401": _text("No API key, or a wrong one, unless METRICS_OPEN.", NEEDS_KEY),
                "403": _text("The key lacks the scope read, or the user the permission.", NEEDS_KEY),
            },
        }
    },
}
