"""The protocols of the installed apps, and the tables that are made of them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import include, path

from routing_app.core.access import origin
from routing_app.core.protocol import discover, registered
from routing_app.core.rest.router import AuditedRouter


def load() -> None:
    """Find every `protocol.py`, and read its `<NAME>_ORIGINS` and `<NAME>_ACCESS`.

    Raises ImproperlyConfigured.
    """
    environment = settings.SWITCHBOARD_ENVIRONMENT
    environment.prefer(settings)
    for protocol in discover():
        if protocol.name not in settings.ORIGINS:
            settings.ORIGINS[protocol.name] = environment.words(
                f"{protocol.name.upper()}_ORIGINS",
                protocol.default_origins,
                f"Browser origins that may open {protocol.name} sockets: `self` (the server's own host), "
                "`*`, or a list.",
                origin.is_pattern,
                "self, * or origins such as https://example.com, capacitor://localhost, file:// or null",
            )

        if protocol.access and protocol.name not in settings.ACCESS:
            settings.ACCESS[protocol.name] = environment.string(
                f"{protocol.name.upper()}_ACCESS",
                "open",
                f"`token`: {protocol.name} clients need an access token or an API key; `open`: none.",
                ("open", "token"),
            )


def sockets() -> dict[str, Any]:
    """WebSocket path -> ASGI application."""
    return {
        path: _application(application, protocol.name)
        for protocol in registered()
        for path, application in protocol.sockets.items()
    }


def _application(served: Any, protocol: str) -> Any:
    return served.as_asgi(protocol=protocol) if hasattr(served, "as_asgi") else served


def endpoints() -> dict[str, Any]:
    """Path -> ASGI application, for the paths whose HTTP requests, too, are served without Django."""
    return {
        path: application
        for protocol in registered()
        for path, application in {**protocol.sockets, **protocol.http}.items()
        if not isinstance(application, type)
    }


def urls() -> list[Any]:
    """Django's patterns of every protocol, and of the operators' REST below `api/`."""
    return [
        *(_included(protocol.urls) for protocol in registered()),
        path("api/", include(_rest().urls)),
    ]


def fast_urls() -> list[Any]:
    """The patterns that are served without Django's request cycle."""
    return [_included(protocol.fast_urls) for protocol in registered()]


def _included(patterns: Any) -> Any:
    return path("", include(patterns if isinstance(patterns, str) else list(patterns)))


def _rest() -> AuditedRouter:
    rest = AuditedRouter()
    for protocol in registered():
        for prefix, viewset in protocol.api.items():
            rest.register(prefix, viewset, basename=prefix)
    return rest
