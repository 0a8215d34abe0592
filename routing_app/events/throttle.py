"""Bounds logins and changes of password: so many a minute from one network address, and for one user.

The counters are in Django's cache: Redis where REDIS_URL is set, so that all workers count together, else the
memory of the one process. Counting is one atomic step, so that guesses made at the same moment all count.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import RequestDataTooBig
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from routing_app.core.access.limits import counted_as
from routing_app.core.json import NotJSON, loads
from routing_app.events.walker_context import Visitor

if TYPE_CHECKING:
    from rest_framework.views import APIView

WINDOW_SECONDS: Final = 60


class LoginThrottle(BaseThrottle):
    """EVENTS_LOGIN_RATE tries a minute."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the try; False when there were too many."""
        if not settings.EVENTS_LOGIN_RATE:
            return True
        window = int(time.time()) // WINDOW_SECONDS
        counts = [_count(f"login:{window}:{name}") for name in self._names(request)]
        return max(counts) <= settings.EVENTS_LOGIN_RATE

    def wait(self) -> float:
        """Seconds until the next window begins."""
        return WINDOW_SECONDS - time.time() % WINDOW_SECONDS

    def _names(self, request: Request) -> list[str]:
        address = counted_as(self.get_ident(request) or "")
        names = [f"from:{address}"]
        if isinstance(request.auth, Visitor):
            names.append(f"for:{request.auth.root_id}")
        elif email := _email(request):
            names.append(f"for:{sha256(email.encode()).hexdigest()}")
        return names


def _count(key: str) -> int:
    cache.add(key, 0, WINDOW_SECONDS)  # does nothing where the key is there: the window keeps its end
    try:
        return cache.incr(key)
    except ValueError:  # it expired between the two calls
        cache.set(key, 1, WINDOW_SECONDS)
        return 1


def _email(request: Request) -> str:
    try:
        body = loads(request._request.body, surrogates=False)
    except (NotJSON, RequestDataTooBig):
        return ""
    email = body.get("email") if isinstance(body, dict) else None
    return email.lower() if isinstance(email, str) else ""
