"""Asynchronous views without Django's request cycle, where its price shows.

Under ASGI every request of Django starts a thread for signals and middleware: about 1 ms. The views of a lean
table need neither, so they get the same request and are answered at once. The table is part of `urls.py` as
well: nothing but speed is lost without this.
"""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any, Final

from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, JsonResponse
from django.urls import Resolver404, ResolverMatch, get_resolver

logger = logging.getLogger(__name__)

MAX_BODY: Final = 64 * 1024

Scope = dict[str, Any]


class TooLarge(Exception):
    """A body has more than MAX_BODY bytes."""


class Lean:
    """Serves the views of the module `urls`; every other path goes on to `http`."""

    def __init__(self, http: Any, urls: str) -> None:
        self._http = http
        self._resolver = get_resolver(urls)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one ASGI HTTP scope."""
        match = self._match(scope)
        if match is None:
            await self._http(scope, receive, send)
            return
        try:
            body = await _body(receive)
        except TooLarge:
            response: HttpResponse = JsonResponse({"code": "TooLarge"}, status=413)
        else:
            if body is None:
                return
            response = await _respond(match, ASGIRequest(scope, BytesIO(body)))
        await _send(response, send)

    def _match(self, scope: Scope) -> ResolverMatch | None:
        try:
            return self._resolver.resolve(scope["path"].removeprefix(scope.get("root_path", "")))
        except Resolver404:
            return None


async def _body(receive: Any) -> bytes | None:
    """The whole body; None when the client has gone. Raises TooLarge."""
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY:
            raise TooLarge
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


async def _respond(match: ResolverMatch, request: ASGIRequest) -> HttpResponse:
    try:
        response: HttpResponse = await match.func(request, *match.args, **match.kwargs)
    except SuspiciousOperation:
        return JsonResponse({"code": "InvalidRequest"}, status=400)
    except Exception:
        logger.exception("%s failed", match.view_name or match.route)
        return JsonResponse({"code": "Internal"}, status=500)
    return response


async def _send(response: HttpResponse, send: Any) -> None:
    body = response.content
    response.headers["Content-Length"] = str(len(body))
    response.headers["X-Content-Type-Options"] = "nosniff"
    headers = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
