"""A NUL in what Django's admin or the REST side looks up is answered with 400, before any database sees it.

PostgreSQL has no string with a NUL, so a lookup with one fails there, and on SQLite it finds nothing. Forms
and serializers check what they store; paths, filters, searches, orders and actions check nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.utils.deprecation import MiddlewareMixin

from routing_app.core.rest import mount

NUL: Final = "\x00"
SENTENCE: Final = "A NUL is in no value that is kept here."


class NulMiddleware(MiddlewareMixin):
    """400 for a NUL in a cookie, and for the admin and REST in the path, the query or a form."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Cookies may hold one in quotes, as an octal escape; a session is looked up by its cookie."""
        return HttpResponseBadRequest(SENTENCE) if _has_nul(request.COOKIES.values()) else None

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]
    ) -> HttpResponse | None:
        """The answer where there is a NUL; None where there is none, or the view sees to it by itself."""
        match = request.resolver_match
        if match is not None and match.app_name == "admin":
            found = _in_path(kwargs) or _in_query(request) or _in_form(request)
            return HttpResponseBadRequest(SENTENCE) if found else None
        rest = getattr(view, "cls", None)
        if rest is None or not mount.owns(match) or getattr(rest, "describes_own_errors", False):
            return None
        found = _in_path(kwargs) or _in_query(request)
        return JsonResponse({"detail": SENTENCE}, status=400) if found else None


def _in_path(parts: Mapping[str, Any]) -> bool:
    return _has_nul(map(str, parts.values()))


def _in_query(request: HttpRequest) -> bool:
    return any(NUL in name or _has_nul(values) for name, values in request.GET.lists())


def _in_form(request: HttpRequest) -> bool:
    return any(NUL in name or _has_nul(values) for name, values in request.POST.lists())


def _has_nul(strings: Iterable[Any]) -> bool:
    return any(NUL in string for string in strings)
