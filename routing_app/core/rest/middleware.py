"""Answers HTTP with 503 while Redis or the database is out, whichever view has met it."""

from __future__ import annotations

import logging
from typing import Final

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.deprecation import MiddlewareMixin

from routing_app.core import metrics
from routing_app.core.access.handshake import RETRY_AFTER_SECONDS
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import Advice, Refusal
from routing_app.core.database import Overloaded
from routing_app.core.jwt.jwks import KeysUnavailable
from routing_app.core.rest import mount
from routing_app.core.rest.exceptions import PROTOCOL
from routing_app.core.streams.store import StoreUnavailable

logger = logging.getLogger(__name__)

BACKING_SERVICES: Final = (
    LayerUnavailable,
    StoreUnavailable,
    Overloaded,
    OperationalError,
    InterfaceError,
    KeysUnavailable,
)
"""Exceptions of views and handlers while Redis, the database or the keys of an issuer are out."""


class OutageMiddleware(MiddlewareMixin):
    """Turns an outage that a view met into 503 with `Retry-After`; without it Django answers 500."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """The answer for an exception of BACKING_SERVICES; None for any other."""
        match = request.resolver_match
        is_ours = mount.owns(match) or (match is not None and match.app_name == "admin")
        if not is_ours or not isinstance(error, BACKING_SERVICES):
            return None
        return unavailable(request, error)


def unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    """The answer to a request that met an outage, counted and logged."""
    metrics.REFUSED.labels(PROTOCOL, Refusal.UNAVAILABLE).inc()
    logger.warning("%s %s: a backing service is down: %s", request.method, request.path, error)
    return JsonResponse(
        {"detail": "A backing service is down, try again later."},
        status=503,
        headers={"Retry-After": str(RETRY_AFTER_SECONDS[Advice.LATER])},
    )
