"""Counts REST's refusals, as those of sockets are."""

from __future__ import annotations

from typing import Any, Final

from django.core.exceptions import RequestDataTooBig
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import exception_handler

from routing_app.core import metrics
from routing_app.core.codes import Refusal

PROTOCOL: Final = metrics.REST
REASONS: Final = {
    400: Refusal.MALFORMED,
    401: Refusal.FORBIDDEN,
    403: Refusal.FORBIDDEN,
    405: Refusal.MALFORMED,
    413: Refusal.TOO_BIG,
    415: Refusal.MALFORMED,
    429: Refusal.RATE,
}


class PayloadTooLarge(APIException):
    """The error for a body over the limit, which Django would answer with 400 and a page."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is too large."
    default_code = "too_large"


def answer(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST Framework's answer to an exception of a view, counted; None for an error of ours.

    `context` is REST Framework's, or `{"protocol": name}`.
    """
    if isinstance(error, RequestDataTooBig):
        error = PayloadTooLarge()
    response = exception_handler(error, context)
    if response is not None and (reason := REASONS.get(response.status_code)) is not None:
        metrics.REFUSED.labels(context.get("protocol", PROTOCOL), reason).inc()
    return response
