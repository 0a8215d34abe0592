"""Rate limits of logins and changes of password: per network address, and per user."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from django.core.exceptions import RequestDataTooBig
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from routing_app.core.access.grants import NOBODY
from routing_app.core.delivery.connection import Peer
from routing_app.core.json import NotJSON, loads
from routing_app.core.rate_limits.limit import Excess, Passing
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import current_worker
from routing_app.events.walker_context import Visitor

if TYPE_CHECKING:
    from rest_framework.views import APIView


class LoginThrottle(BaseThrottle):
    """The limits of the command `login`, which count before a password is looked at."""

    _excess: Excess | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the try; False when there were too many."""
        peer = Peer(request.META.get("REMOTE_ADDR") or "")
        self._excess = _count(Passing(peer, NOBODY, _user(request)))
        return self._excess is None

    def wait(self) -> float:
        """Seconds until the next try may pass."""
        return self._excess.seconds if self._excess is not None else 0.0


async def _ask(who: Passing) -> Excess | None:
    rate_limits = current_worker().rate_limits
    await rate_limits.freshen()
    limits = rate_limits.of("events").login
    return None if limits is None else await rate_limits.excess(limits, who, may_wait=False)


_count = from_sync(_ask)


def _user(request: Request) -> str:
    """The user that logs in, or has; an address of nobody counts as well: it says nothing who has one."""
    if isinstance(request.auth, Visitor):
        return f"events {request.auth.root_id}"
    email = _email(request)
    return f"events login {sha256(email.encode()).hexdigest()}" if email else ""


def _email(request: Request) -> str:
    try:
        body = loads(request._request.body, surrogates=False)
    except (NotJSON, RequestDataTooBig):
        return ""
    email = body.get("email") if isinstance(body, dict) else None
    return email.lower() if isinstance(email, str) else ""
