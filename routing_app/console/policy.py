"""What browsers may load and run on a page of the console: files of this server, and nothing in the page."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django.http import HttpRequest, HttpResponse

DIRECTIVES: Final = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
)


def content_security_policy(request: HttpRequest) -> str:
    """The policy; some browsers do not count a socket of the same host as `self`."""
    host = f"{'wss' if request.is_secure() else 'ws'}://{request.get_host()}"
    return "; ".join((*DIRECTIVES, f"connect-src 'self' {host}"))


def with_policy(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A view whose every answer has the policy, and is kept by no cache."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        response["Content-Security-Policy"] = content_security_policy(request)
        response["Referrer-Policy"] = "same-origin"
        response["Cache-Control"] = "no-store"
        return response

    return answered
