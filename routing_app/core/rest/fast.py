"""Asynchronous views without Django's request cycle, where its price shows.

Under ASGI every request of Django starts a thread for signals and middleware: about 1 ms. The views of a lean
table need neither, so they get the same request and are answered at once. Every path of the table is in
`urls.py` as well: nothing but speed is lost without this, and a view may pass a request on to it.
"""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any, Final

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, JsonResponse
from django.urls import Resolver404, ResolverMatch, get_resolver

from routing_app.core.rest.bodies import Again

logger = logging.getLogger(__name__)

MAX_BODY: Final = 256 * 1024

Scope = dict[str, Any]


class PassOn(Exception):
    """Raised by a lean view for what is not its business: Django's own view of the path answers."""


class Lean:
    """Serves the views of the module `urls`; every other path, and what they pass on, goes to `http`."""

    def __init__(self, http: Any, urls: str) -> None:
        self._http = http
        self._resolver = get_resolver(urls)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one ASGI HTTP scope."""
        match = self._match(scope)
        if match is None:
            await self._http(scope, receive, send)
            return
        messages, body = await _read(receive)
        if body is None:
            await self._http(scope, Again(messages, receive), send)
            return
        try:
            response = await _respond(match, ASGIRequest(scope, BytesIO(body)))
        except PassOn:
            await self._http(scope, Again(messages, receive), send)
            return
        await _send(response, send)

    def _match(self, scope: Scope) -> ResolverMatch | None:
        try:
            return self._resolver.resolve(scope["path"].removeprefix(scope.get("root_path", "")))
        except Resolver404:
            return None


async def _read(receive: Any) -> tuple[list[dict[str, Any]], bytes | None]:
    """The messages of a request and its body; None for a body over MAX_BODY, or a client that has gone."""
    messages, chunks, size = [], [], 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or size > MAX_BODY:
            return messages, None
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return messages, b"".join(chunks)


async def _respond(match: ResolverMatch, request: ASGIRequest) -> HttpResponse:
    try:
        response: HttpResponse = await match.func(request, *match.args, **match.kwargs)
    except PassOn:
        raise
    except RequestDataTooBig:
        raise PassOn from None
    except SuspiciousOperation:
        return JsonResponse({"error": "the request cannot be read"}, status=400)
    except Exception:
        logger.exception("%s failed", match.view_name or match.route)
        return JsonResponse({"error": "internal error"}, status=500)
    return response


async def _send(response: HttpResponse, send: Any) -> None:
    body = response.content
    response.headers["Content-Length"] = str(len(body))
    response.headers["X-Content-Type-Options"] = "nosniff"
    headers = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
