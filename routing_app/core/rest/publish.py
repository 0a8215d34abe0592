"""`POST /api/publish` for the holder of a key, without Django's request cycle.

Only what is in order is answered here. Everything else, a session, a wrong key, a body that is not right, is
passed on to `api.PublishView`, which says what is wrong.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from routing_app.core import json
from routing_app.core.access.bearer import presented_key
from routing_app.core.address import AddressError
from routing_app.core.models import ApiKey, Scope
from routing_app.core.publishing import check_addresses, publish
from routing_app.core.rest.fast import PassOn
from routing_app.core.rest.middleware import BACKING_SERVICES
from routing_app.core.worker import current_worker


async def publish_express(request: HttpRequest) -> HttpResponse:
    """Publish one message. Raises PassOn."""
    if request.method != "POST" or request.content_type != "application/json":
        raise PassOn
    key = await publisher(presented_key(request))
    addresses, message = _read(request.body)
    outcome = await publish(addresses, message, sender=key.name)
    return JsonResponse(outcome.as_json())


async def publisher(plain: str) -> ApiKey:
    """The row of a key that may publish. Raises PassOn, also while the database is out."""
    try:
        key = await current_worker().keys.find(plain) if plain else None
    except BACKING_SERVICES:
        raise PassOn from None
    if key is None or Scope.PUBLISH not in key.scopes:
        raise PassOn
    return key


def _read(body: bytes) -> tuple[tuple[str, ...], Any]:
    try:
        data = json.loads(body)
        named, message = data["addresses"], data["message"]
        if not named or not isinstance(named, list):
            raise PassOn
        return check_addresses(named), message
    except (ValueError, TypeError, KeyError, AttributeError, AddressError):
        raise PassOn from None
