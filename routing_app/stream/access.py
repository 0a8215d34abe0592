"""Rights of a reader, as in the REST API: its grant covers every address, as long as it reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest

from routing_app.core.access import hosts, origin
from routing_app.core.access.grants import Grant
from routing_app.core.models import Scope
from routing_app.core.rest.auth import AddressDenied
from routing_app.core.rest.authorization import authorize

OWN_SITES: Final = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of requests by the server's own pages, and by a user."""


async def grant_of(request: ASGIRequest) -> Grant:
    """The grant of a caller who may read. Raises as `authorize`."""
    session = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    if session and _is_of_another_site(request):
        # A browser sends it along whatever page asks; the page may still have a key.
        del request.COOKIES[settings.SESSION_COOKIE_NAME]
    return await authorize(request, Scope.READ, tokens=True)


def check_covered(grant: Grant, addresses: Iterable[str]) -> None:
    """Raise AddressDenied unless the grant covers every address."""
    if not all(map(grant.may_subscribe, addresses)):
        raise AddressDenied


def _is_of_another_site(request: ASGIRequest) -> bool:
    """True for a page that is not of the server's own host, whatever STREAM_ORIGINS admits.

    A browser names no origin where a page reads from its own.
    """
    page = request.headers.get("Origin")
    if page is not None:
        return not origin.allowed(page, hosts.own(request.scope), ["self"])
    return request.headers.get("Sec-Fetch-Site", "none") not in OWN_SITES
