"""Asynchronous views without Django's request cycle, where its price shows.

Under ASGI every request of Django starts a thread for signals and middleware: about 1 ms. The views of a fast
table need neither, so they get the same request and are answered at once. Every path of the table has the
same view in `urls.py`: Django's own tests, reversed URLs and the limits of bodies find it there.
"""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.http import HttpResponse, JsonResponse
from django.urls import Resolver404, ResolverMatch, get_resolver, set_script_prefix

from routing_app.core.rest.bodies import Gone

logger = logging.getLogger(__name__)

Scope = dict[str, Any]


class FastViews:
    """Serves the views of the module `urls`; every other path goes to `http`.

    `Bodies` stands before it: a body has a known length, and is within the limit of its path or empty.
    """

    def __init__(self, http: Any, urls: str) -> None:
        self._http = http
        self._resolver = get_resolver(urls)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one ASGI HTTP scope."""
        try:
            match = self._resolver.resolve(scope["path"].removeprefix(scope.get("root_path", "")))
        except Resolver404:
            await self._http(scope, receive, send)
            return
        try:
            body = await _read(receive)
        except Gone:
            return
        await _send(await _respond(match, scope, body), send)


async def _read(receive: Any) -> bytes:
    """The body of a request. Raises Gone."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _respond(match: ResolverMatch, scope: Scope, body: bytes) -> HttpResponse:
    try:
        # The steps of Django's ASGIHandler that a view can notice, without its signals and middleware.
        set_script_prefix(get_script_prefix(scope))
        request = ASGIRequest(scope, BytesIO(body))
        response: HttpResponse = await match.func(request, *match.args, **match.kwargs)
    except (SuspiciousOperation, UnicodeDecodeError):
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
