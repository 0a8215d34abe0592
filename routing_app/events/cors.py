"""Pages that may call REST: those that may open a socket, EVENTS_ORIGINS. A page logs in there first.

No cookie gives power here, so none is allowed to travel.
"""

from __future__ import annotations

from typing import TypeVar

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from routing_app.core.access import origin

R = TypeVar("R", bound=HttpResponseBase)


def allow(request: HttpRequest, response: R, methods: str) -> R:
    """Add the headers that let the calling page read a response, or go on after its preflight."""
    caller = request.headers.get("Origin")
    if caller is None:
        return response
    patch_vary_headers(response, ["Origin"])
    if origin.allowed(caller, request.headers.get("Host", ""), settings.ORIGINS["events"]):
        response["Access-Control-Allow-Origin"] = caller
        response["Access-Control-Allow-Methods"] = methods
        response["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        response["Access-Control-Expose-Headers"] = "Retry-After"
        response["Access-Control-Max-Age"] = "86400"
    return response
