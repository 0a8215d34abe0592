"""Django's middleware that records the calls of operators' REST and the admin's refusals."""

from __future__ import annotations

from asyncio import iscoroutinefunction
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from routing_app.core.audit import calls
from routing_app.core.rest import mount


class AuditMiddleware:
    """Looks at answers; where there is nothing to record, it takes no step to another thread."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer a request."""
        if self._is_async:
            return self._answer(request)
        response: HttpResponseBase = self._get_response(request)
        if _is_recorded(request, response):
            calls.finish(request, request.resolver_match, response.status_code)
        return response

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await self._get_response(request)
        if _is_recorded(request, response):
            await sync_to_async(calls.finish)(request, request.resolver_match, response.status_code)
        return response


def _is_recorded(request: HttpRequest, response: HttpResponseBase) -> bool:
    match, status = request.resolver_match, response.status_code
    if match is not None and match.app_name == "admin":
        # The site's own hooks know more of what was done.
        return status >= 400 and calls.is_recorded(request, match, status)
    if not calls.is_of_operators(request.path_info):
        return False
    if match is not None and not mount.owns(match):
        return False
    return calls.is_recorded(request, match, status)
