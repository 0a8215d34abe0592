"""Questions about calls over HTTP, which are no connection's."""

from __future__ import annotations

from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from routing_app.core.access import admission
from routing_app.core.delivery.connection import Peer
from routing_app.core.hooks.question import Question


def asked_over_http(
    request: HttpRequest, protocol: str, identity: str, address: str, message: Any = None
) -> Question:
    """The question about a call, with the headers and the query of its request."""
    scope = request.scope if isinstance(request, ASGIRequest) else None
    peer = Peer(request.META.get("REMOTE_ADDR") or "") if scope is None else admission.peer_of(scope)
    return Question(protocol, "", str(peer), identity, scope, address, message)
