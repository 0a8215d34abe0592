"""What the OpenAPI document says about API keys."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tells the OpenAPI document how a key is presented."""

    target_class = "routing_app.core.auth.ApiKeyAuthentication"
    name = ["apiKey", "bearer"]  # noqa: RUF012 - the base class declares it so

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        """A header, or a bearer token."""
        return [{"type": "apiKey", "in": "header", "name": "X-API-Key"}, {"type": "http", "scheme": "bearer"}]
