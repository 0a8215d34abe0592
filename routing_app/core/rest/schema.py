"""API keys and errors in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_object_type
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse
from rest_framework.views import APIView

from routing_app.core.protocol import registered

DETAIL: Final = build_object_type(properties={"detail": {"type": "string"}}, required=["detail"])
ERRORS: Final = {
    "400": OpenApiResponse(OpenApiTypes.ANY, "What is wrong, by field."),
    "401": OpenApiResponse(DETAIL, "No API key, or a wrong one."),
    "403": OpenApiResponse(DETAIL, "The API key lacks the scope."),
    "404": OpenApiResponse(DETAIL, "No such row or page."),
    "406": OpenApiResponse(DETAIL, "Only JSON is answered."),
    "415": OpenApiResponse(DETAIL, "The body's media type is not read here."),
}
"""Errors that REST Framework answers by itself."""


View = TypeVar("View", bound=Callable[..., Any])


def documented_by(documentation: type[APIView]) -> Callable[[View], View]:
    """Decorate a view that is a function: the document says of it what it says of `documentation`."""

    def mark(view: View) -> View:
        view.cls, view.initkwargs = documentation, {}  # type: ignore[attr-defined]  # as `as_view` marks one
        return view

    return mark


def document_protocols(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's post-processing hook: add what protocols say of paths that it cannot see."""
    for protocol in registered():
        if protocol.openapi is not None:
            protocol.openapi(result)
    return result


class Described(AutoSchema):
    """Describes errors too; a view whose errors are others sets `describes_own_errors`."""

    def _get_parameters(self) -> list[dict[str, Any]]:
        """Those of the base; a free string in the query holds no NUL (`nul.py`)."""
        parameters: list[dict[str, Any]] = super()._get_parameters()
        for parameter in parameters:
            schema = parameter["schema"]
            if parameter["in"] == "query" and schema.get("type") == "string" and "enum" not in schema:
                parameter["schema"] = {"pattern": "^[^\\u0000]*$", **schema}
        return parameters

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        if getattr(self.view, "describes_own_errors", False):
            return bodies
        errors = {code: self._get_response_for_code(error, code) for code, error in ERRORS.items()}  # type: ignore[no-untyped-call]
        return errors | bodies


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tells the OpenAPI document how a key is presented."""

    target_class = "routing_app.core.rest.auth.ApiKeyAuthentication"
    name = ["apiKey", "bearer"]  # noqa: RUF012 - the base class declares it so

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        """A header, or a bearer token."""
        return [{"type": "apiKey", "in": "header", "name": "X-API-Key"}, {"type": "http", "scheme": "bearer"}]
