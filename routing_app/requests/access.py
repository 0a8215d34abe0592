"""Rights of a client, as in the REST API: those of an API key or a staff session, as long as they hold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest

from routing_app.core.access import hosts, keys, masking, origin, staff_sessions
from routing_app.core.access.admission import Refused
from routing_app.core.access.bearer import presented_key
from routing_app.core.access.masking import SecretAccess
from routing_app.core.codes import UNAUTHENTICATED, UNAVAILABLE, Refusal
from routing_app.core.database import query
from routing_app.core.models import ApiKey, Scope
from routing_app.requests.errors import RequestDenied

logger = logging.getLogger(__name__)

NO_SECRETS: Final = SecretAccess()
CHECK_SECONDS: Final = 5.0
"""Longest time until the socket of a revoked key, or of a staff session that has ended, is closed."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Name and scopes of a client."""

    name: str = ""
    scopes: frozenset[str] = frozenset()
    key_id: int | None = None
    secrets: SecretAccess = NO_SECRETS
    session: str = field(default="", repr=False)
    """The key of a staff session, a credential."""

    @property
    def caller(self) -> str:
        """The key or the user, as REST names its callers."""
        return f"user {self.name}" if self.key_id is None else f"key {self.key_id}"

    def require(self, scope: Scope) -> None:
        """Raise RequestDenied unless the scope is held."""
        if scope in self.scopes:
            return
        if not self.name:
            raise RequestDenied("unauthenticated", "an API key is needed")
        raise RequestDenied("forbidden", f"the scope {scope.value} is needed")


NOBODY: Final = Rights()


async def rights_of(scope: dict[str, Any]) -> Rights:
    """Rights that a handshake brings: a key, a staff session of the server's own pages, or nothing.

    Raises Refused for a key that is wrong or revoked, and while the database is out.
    """
    request = ASGIRequest({**scope, "type": "http", "method": "GET"}, BytesIO())
    plain = presented_key(request)
    if not plain and settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return NOBODY
    try:
        rights = await query(_by_key, plain) if plain else await query(_by_session, request)
    except Exception as error:
        logger.warning("requests: the database does not answer: %s", type(error).__name__)
        raise Refused(UNAVAILABLE, Refusal.UNAVAILABLE) from None
    if rights is None:
        raise Refused(UNAUTHENTICATED)
    return rights


async def rights_by_key(plain: str) -> Rights:
    """Rights of a key. Raises RequestDenied when it is wrong or revoked."""
    rights = await query(_by_key, plain)
    if rights is None:
        raise RequestDenied("unauthenticated", "API key is wrong or revoked")
    return rights


def _by_key(plain: str) -> Rights | None:
    row = keys.find(plain)
    return None if row is None else _of_key(row.name, row.scopes, row.pk)


def _of_key(name: str, scopes: Iterable[str], pk: int) -> Rights:
    return Rights(name, frozenset(scopes), key_id=pk, secrets=masking.of_scopes(scopes))


def _by_session(request: ASGIRequest) -> Rights:
    """A cookie counts only for pages of the server's own host, whatever REQUESTS_ORIGINS admits."""
    page = request.headers.get("origin")
    if page is None or not origin.allowed(page, hosts.own(request.scope), ["self"]):
        return NOBODY
    return _of_session(request.COOKIES[settings.SESSION_COOKIE_NAME]) or NOBODY


def _of_session(key: str) -> Rights | None:
    user = staff_sessions.member(key)
    if user is None:
        return None
    return Rights(str(user), frozenset(Scope.values), secrets=masking.of_user(user), session=key)


def still_valid(held: set[Rights]) -> dict[Rights, Rights]:
    """Rights as they are now; those that are missing in the answer are held no longer."""
    key_ids = [rights.key_id for rights in held if rights.key_id is not None]
    scopes = dict(ApiKey.objects.filter(pk__in=key_ids, revoked_at=None).values_list("pk", "scopes"))
    valid = {}
    for rights in held:
        if rights.session and (now := _of_session(rights.session)) is not None:
            valid[rights] = now
        elif rights.key_id in scopes:
            valid[rights] = _of_key(rights.name, scopes[rights.key_id], rights.key_id)
    return valid


async def pause() -> None:
    """Until rights are checked again."""
    await asyncio.sleep(CHECK_SECONDS)
