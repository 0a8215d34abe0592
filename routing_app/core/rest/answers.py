"""The body of a request, and the answer to an error, for views without Django's request cycle.

Errors are those of REST Framework, in its words.
"""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from rest_framework.exceptions import MethodNotAllowed, ParseError, UnsupportedMediaType

from routing_app.core import json
from routing_app.core.rest.exceptions import PROTOCOL, answer

JSON: Final = "application/json"


def body_of(request: HttpRequest, method: str) -> Any:
    """The JSON of a request by `method`. Raises APIException, RequestDataTooBig."""
    if request.method != method:
        raise MethodNotAllowed(request.method or "")
    if not request.body:
        return {}
    # The header first: the request is made only as far as it is asked for.
    if request.headers.get("Content-Type") != JSON and request.content_type != JSON:
        raise UnsupportedMediaType(request.headers.get("Content-Type", ""))
    try:
        return json.loads(request.body)
    except json.NotJSON as error:
        raise ParseError(f"JSON parse error - {error}") from None


def refuse(error: Exception, allowed: str, protocol: str = PROTOCOL) -> HttpResponse:
    """The answer to an error of REST Framework, counted for `protocol`; `allowed` are the methods of the
    view.
    """
    response = answer(error, {"protocol": protocol})
    assert response is not None  # it knows every APIException
    headers = {name: response[name] for name in ("WWW-Authenticate", "Retry-After") if name in response}
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = allowed
    return JsonResponse(response.data, status=response.status_code, headers=headers, safe=False)
