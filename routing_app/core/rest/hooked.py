"""Hooks where messages are published, or read, by calls over HTTP: asked about clients alone.

A client of the REST API has an access token. An API key, or a session of the staff, is the operator's own
backend, which need not be asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from django.http import HttpRequest
from rest_framework.exceptions import APIException, PermissionDenied

from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.hooks.over_http import asked_over_http
from routing_app.core.hooks.question import Question, Verdict
from routing_app.core.hooks.table import HookSet
from routing_app.core.models.rate_limits import API
from routing_app.core.worker import current_worker

Screen = Callable[[Sequence[str], Any], Awaitable[Any]]
"""Asks about a message to addresses: the message to go on with. Raises APIException."""
REFUSED: Final = "The backend does not allow it."


class RefusedByHook(PermissionDenied):
    """A hook has refused it, in its own words if it had any."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason or REFUSED)


class HookUnavailable(APIException):
    """A hook had no answer."""

    status_code = 503
    default_detail = "The backend that decides gave no valid answer, try again later."


async def screen_of(request: HttpRequest, grant: Grant) -> Screen | None:
    """What asks about the messages of a call; None where nothing is asked."""
    if grant.kind is not GrantKind.TOKEN:
        return None
    worker = current_worker()
    await worker.hooks.freshen()
    if (hooks := worker.hooks.of(API).publish) is None:
        return None
    return screening(hooks, lambda address, message: _question(request, grant, address, message))


async def check_read(request: HttpRequest, grant: Grant, address: str) -> None:
    """Ask about reading what is kept of an address, as about a subscription. Raises APIException."""
    if grant.kind is not GrantKind.TOKEN:
        return
    worker = current_worker()
    await worker.hooks.freshen()
    if (hooks := worker.hooks.of(API).subscribe) is not None:
        check(await worker.hooks.ask(hooks, _question(request, grant, address)))


def screening(hooks: HookSet, question: Callable[[str, Any], Question]) -> Screen:
    """What asks hooks about messages; `question` is made of an address and a message."""

    async def screen(addresses: Sequence[str], message: Any) -> Any:
        asking = current_worker().hooks
        verdict = await asking.ask_each(hooks, addresses, lambda address: question(address, message))
        check(verdict)
        return verdict.or_else(message)

    return screen


def check(verdict: Verdict) -> None:
    """Raise APIException for a verdict that allows nothing."""
    if not verdict.allow:
        raise HookUnavailable if verdict.unavailable else RefusedByHook(verdict.reason)


def _question(request: HttpRequest, grant: Grant, address: str, message: Any = None) -> Question:
    return asked_over_http(request, API, grant.identity, address, message)
