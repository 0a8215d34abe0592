"""ASGI middleware of HTTP: rate limits of calls of the REST API."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Final

from django.conf import settings
from rest_framework.exceptions import Throttled

from routing_app.core.access import admission, credentials, standing
from routing_app.core.access.admission import Refused
from routing_app.core.access.grants import NOBODY, Grant
from routing_app.core.audit import calls
from routing_app.core.audit.actor import presented
from routing_app.core.database import query
from routing_app.core.models.rate_limits import API, Per
from routing_app.core.rate_limits.arriving import retry_after
from routing_app.core.rate_limits.limit import Passing
from routing_app.core.rate_limits.table import LimitSet
from routing_app.core.rest import mount
from routing_app.core.rest.answers import refuse
from routing_app.core.rest.fast import FastRequest, send_answer
from routing_app.core.rest.middleware import BACKING_SERVICES
from routing_app.core.worker import Worker, current_worker

PATH: Final = "/api/"
FORM_PATH: Final = "/"
"""The form API of tokens."""

Scope = Mapping[str, Any]


class LimitedCalls:
    """Counts calls below `/api/`, by whichever view they are answered, and passes on those within limits.

    A call is counted before its view checks it: so the guesses of a key count for their network address.
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        """Serve one ASGI HTTP scope."""
        path = mount.below(scope["path"].removeprefix(scope.get("root_path", "")))
        if path is not None and (path.startswith(PATH) or path == FORM_PATH):
            return self._serve(scope, receive, send)
        served: Awaitable[None] = self._application(scope, receive, send)
        return served

    async def _serve(self, scope: Scope, receive: Any, send: Any) -> None:
        worker = current_worker()
        await worker.rate_limits.freshen()
        if (limits := worker.rate_limits.of(API).api) is not None:
            who = Passing(admission.peer_of(scope), await _grant(worker, scope, limits))
            if (excess := await worker.rate_limits.excess(limits, who)) is not None:
                seconds = retry_after(excess)
                answer = refuse(Throttled(seconds), "")
                answer.headers.setdefault("Cache-Control", "no-store")
                request = FastRequest(dict(scope), b"")
                presented(request, who.grant)
                await calls.finish_on_loop(request, None, answer.status_code)
                await send_answer(answer, send)
                return
        await self._application(scope, receive, send)


async def _grant(worker: Worker, scope: Scope, limits: LimitSet) -> Grant:
    """The credential of a call, where a limit counts by it; a wrong one counts for nobody."""
    if all(limit.per is Per.NETWORK for limit in limits.every):
        return NOBODY
    try:
        if (presented := credentials.of_scope(scope)) is not None:
            return await credentials.verify(worker, API, presented)
        session = FastRequest(dict(scope), b"").COOKIES.get(settings.SESSION_COOKIE_NAME, "")
        return (await query(standing.staff_grant, session) if session else None) or NOBODY
    except (Refused, *BACKING_SERVICES):  # the view says so
        return NOBODY
