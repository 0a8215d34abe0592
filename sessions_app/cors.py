"""CORS of players' REST: pages of SESSIONS_ORIGINS may call, as for the socket. No cookie is read."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from routing_app.core.access import origin


def allow(request: HttpRequest, response: HttpResponse, methods: str) -> HttpResponse:
    """Add the headers that let the calling page read a response, or go on after its preflight."""
    patterns = settings.ORIGINS["sessions"]
    caller = request.headers.get("Origin")
    if "*" in patterns:
        response["Access-Control-Allow-Origin"] = "*"
    elif caller is not None:
        response["Vary"] = "Origin"
        if not origin.allowed(caller, request.headers.get("Host", ""), patterns):
            return response
        response["Access-Control-Allow-Origin"] = caller
    response["Access-Control-Allow-Methods"] = methods
    response["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
    response["Access-Control-Expose-Headers"] = "Retry-After"
    response["Access-Control-Max-Age"] = "86400"
    return response
