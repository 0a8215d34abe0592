"""CORS: headers that let a page of another origin read an answer.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from routing_app.core.access import origin

R = TypeVar("R", bound=HttpResponseBase)
Headers = dict[str, str]


def readable_by(caller: str, credentials: bool = False) -> Headers:
    """For an answer that pages of the origin `caller` may read; `*` stands for every origin.

    `credentials`: also an answer to a request with cookies, which a browser does not hand out to `*`.
    """
    headers = {"Access-Control-Allow-Origin": caller}
    if credentials:
        headers["Access-Control-Allow-Credentials"] = "true"
    return headers


def preflight(methods: str, request_headers: str, seconds: int) -> Headers:
    """For the answer to a preflight: what the request itself may have, for so many seconds."""
    return {
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": request_headers,
        "Access-Control-Max-Age": str(seconds),
    }


def allow(request: HttpRequest, response: R, patterns: Iterable[str], methods: str) -> R:
    """Let pages of the origins that match `patterns` (`origin.allowed`) read a response of a REST API.

    The API reads no cookie, so credentials are never allowed. The headers of a preflight stand on every
    answer, where they do no harm.
    """
    if "*" in patterns:
        caller = "*"
    else:
        patch_vary_headers(response, ["Origin"])
        named = request.headers.get("Origin")
        if named is None or not origin.allowed(named, request.headers.get("Host", ""), patterns):
            return response
        caller = named
    granted = readable_by(caller) | preflight(methods, "Authorization, Content-Type", 86400)
    for name, value in granted.items():
        response[name] = value
    response["Access-Control-Expose-Headers"] = "Retry-After"
    return response
