"""The form API's `broadcast` for the holder of a key, without Django's request cycle.

Only what is in order is answered here; everything else is passed on to `form_api`, which says what is wrong.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.cache import add_never_cache_headers

from routing_app.core.access.bearer import presented_key
from routing_app.core.rest.fast import PassOn
from routing_app.core.rest.publish import publisher
from routing_app.tokens import service, wire
from routing_app.tokens.form_api import FormDenied, broadcast_answer, read_fields, reply


async def broadcast_express(request: HttpRequest) -> HttpResponse:
    """Answer one broadcast. Raises PassOn."""
    if request.method not in {"GET", "POST"}:
        raise PassOn
    try:
        fields = read_fields(request)
        if fields.get("method") != "broadcast":
            raise PassOn
        await publisher(presented_key(request) or fields.get("key"))
        outcome = await service.broadcast(fields.require("message"))
    except (FormDenied, wire.TokenWireError):
        raise PassOn from None
    answer = reply(broadcast_answer(outcome))
    add_never_cache_headers(answer)  # whoever kept the answer to a GET would swallow the next broadcast
    return answer
