"""Rights of a reader, as in the REST API: those of an API key or a staff session, as long as they hold."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest

from routing_app.core.access import hosts, origin, staff_sessions
from routing_app.core.codes import EXPIRED
from routing_app.core.database import query
from routing_app.core.models import ApiKey, Scope
from routing_app.core.rest.authorization import authorize

if TYPE_CHECKING:
    from routing_app.stream.protocol import Stream

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 4.0
"""Between two looks whether rights still hold; the stream of a revoked key ends within five seconds."""
OWN_SITES: Final = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of requests by the server's own pages, and by a user."""


@dataclass(frozen=True, slots=True)
class Reader:
    """The holder of a key, or a member of the staff."""

    name: str
    key_id: int | None = None
    session: str = field(default="", repr=False)
    """The key of a staff session, a credential."""


async def reader_of(request: ASGIRequest) -> Reader:
    """The caller, who may read. Raises as `authorize`."""
    session = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    if session and _is_of_another_site(request):
        # A browser sends it along whatever page asks; the page may still have a key.
        del request.COOKIES[settings.SESSION_COOKIE_NAME]
    caller = await authorize(request, Scope.READ)
    if caller.key is not None:
        return Reader(caller.name, key_id=caller.key.pk)
    return Reader(caller.name, session=session)


def _is_of_another_site(request: ASGIRequest) -> bool:
    """True for a page that is not of the server's own host, whatever STREAM_ORIGINS admits.

    A browser names no origin where a page reads from its own.
    """
    page = request.headers.get("Origin")
    if page is not None:
        return not origin.allowed(page, hosts.own(request.scope), ["self"])
    return request.headers.get("Sec-Fetch-Site", "none") not in OWN_SITES


def still_valid(held: set[Reader]) -> set[Reader]:
    """Those who may still read. Uses the ORM."""
    key_ids = [reader.key_id for reader in held if reader.key_id is not None]
    rows = ApiKey.objects.filter(pk__in=key_ids, revoked_at=None).values_list("pk", "scopes")
    keys = {key_id for key_id, scopes in rows if Scope.READ in scopes}
    return {
        reader
        for reader in held
        if (staff_sessions.member(reader.session) if reader.session else reader.key_id in keys)
    }


async def watch(protocol: Stream) -> None:
    """End the streams of those who may read no longer, until the worker stops."""
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        try:
            await recheck(protocol)
        except Exception as error:
            logger.warning("stream: rights cannot be checked: %s", type(error).__name__)


async def recheck(protocol: Stream) -> None:
    """End the streams of those who may read no longer."""
    readers = dict(protocol.readers)
    if not readers:
        return
    valid = await query(still_valid, set(readers.values()))
    for connection, reader in readers.items():
        if reader not in valid:
            connection.close(EXPIRED)
