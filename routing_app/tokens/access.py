"""Permissions of sockets: to connect, to take a token, to broadcast.

A socket asks the database when it shakes hands and when it changes its token. Questions that come while a
query runs go into the next one, so every answer is fresh, and a thousand handshakes a second cost a handful
of queries.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from time import monotonic
from typing import Final

from django.conf import settings

from routing_app.core.access.admission import Refused
from routing_app.core.codes import FORBIDDEN, REVOKED, TOKEN_UNREGISTERED, UNAVAILABLE, Refusal
from routing_app.core.database import query
from routing_app.core.revocations.names import Carried, Kind
from routing_app.core.standstill import Within
from routing_app.core.worker import Worker
from routing_app.tokens.models import RegisteredToken
from routing_app.tokens.service import chunks

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 3.0
"""How long a socket waits for an answer of the database; servers give a handshake 5 seconds."""
PERMISSION_SECONDS: Final = 1.0
"""How old an answer may be that lets a client broadcast."""
WATCH_SECONDS: Final = 20.0
"""How often the tokens of open connections are checked again while only registered ones may connect."""
UNREGISTERED: Final = replace(FORBIDDEN, reason="only registered tokens may connect")


class TokenUnknown(Exception):
    """The database does not say whether a token is registered."""


class TokenLookup:
    """Asks about many tokens at once, for the sockets of one worker."""

    def __init__(self) -> None:
        self._asked: dict[str, asyncio.Future[bool]] = {}
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Task[None] | None = None

    def expect(self, first: asyncio.Task[None]) -> None:
        """Answer nothing before this has ended: the first import is under way."""
        self._first = first

    async def enabled(self, token: str) -> bool:
        """Is the token registered and enabled? Read after the call began. Raises TokenUnknown."""
        try:
            async with Within(PATIENCE_SECONDS):
                if self._first is not None:  # it ends also when the import fails
                    await asyncio.wait([self._first])
                # Shielded: others ask about the same token.
                return await asyncio.shield(self._ask(token))
        except TimeoutError:
            raise TokenUnknown from None

    def _ask(self, token: str) -> asyncio.Future[bool]:
        future = self._asked.get(token)
        if future is None:
            future = self._asked[token] = asyncio.get_running_loop().create_future()
        # A query that runs may have read before this call; so the token goes into the next one.
        if self._task is None:
            self._task = asyncio.ensure_future(self._answer_all())
        return future

    async def _answer_all(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                await self._answer(asked)
        finally:
            self._task = None

    async def _answer(self, asked: dict[str, asyncio.Future[bool]]) -> None:
        try:
            known = await query(_enabled_among, list(asked))
        except Exception as error:
            logger.warning("tokens: the database does not answer: %s", error)
            for future in asked.values():
                future.set_exception(TokenUnknown())
                future.exception()  # retrieved: the socket may be gone
            return
        for token, future in asked.items():
            future.set_result(token in known)


def _enabled_among(tokens: list[str]) -> set[str]:
    known: set[str] = set()
    for chunk in chunks(tokens):
        rows = RegisteredToken.objects.filter(token__in=chunk, enabled=True)
        known.update(rows.values_list("token", flat=True))
    return known


def lookup_of(worker: Worker) -> TokenLookup:
    """The lookup that the sockets of a worker share."""
    lookup: TokenLookup = worker.protocols["tokens"].lookup
    return lookup


async def check(worker: Worker, token: str) -> None:
    """Let a client be known by a token, or raise Refused (decisions 12 and 13), and what the database raises
    that is asked whether a token is revoked.
    """
    if worker.revocations and await worker.revocations.concern([Carried(Kind.TOKEN, token)]):
        raise Refused(REVOKED, Refusal.REVOKED)
    if settings.TOKENS_ALLOW_UNREGISTERED:
        return
    try:
        enabled = await lookup_of(worker).enabled(token)
    except TokenUnknown:
        raise Refused(UNAVAILABLE, Refusal.UNAVAILABLE) from None
    if not enabled:
        raise Refused(UNREGISTERED, Refusal.GATE)


class BroadcastPermission:
    """Permission of one token's client to broadcast (decision 25), asked again once a second at most.

    While the database is out, the last answer counts.
    """

    def __init__(self, worker: Worker, token: str) -> None:
        self._lookup = lookup_of(worker)
        self._token = token
        self._answer = False
        self._good_until = 0.0

    async def holds(self) -> bool:
        """May a broadcast go out now?"""
        if settings.TOKENS_BROADCAST != "registered":
            return bool(settings.TOKENS_BROADCAST == "everyone")
        if monotonic() >= self._good_until:
            try:
                self._answer = await self._lookup.enabled(self._token)
                self._good_until = monotonic() + PERMISSION_SECONDS
            except TokenUnknown:
                # Not asked for every message of a flood: each question would wait PATIENCE_SECONDS again.
                self._good_until = monotonic() + PATIENCE_SECONDS
        return self._answer


async def watch(worker: Worker) -> None:
    """Where only registered tokens may connect, end the connections of others, until the worker stops.

    Revoking tells every process at once. This finds those that it has missed: a message lost with the channel
    layer, a row changed by a program that cannot reach this process.
    """
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        if not settings.TOKENS_ALLOW_UNREGISTERED:
            await close_revoked(worker)


async def close_revoked(worker: Worker) -> int:
    """End the connections of this process whose token is not enabled; how many there were."""
    mine = [connection for connection in worker.hub.connections() if connection.protocol == "tokens"]
    try:
        known = await query(_enabled_among, sorted({connection.identity for connection in mine}))
    except Exception as error:
        logger.warning("tokens: connected tokens cannot be checked: %s", error)
        return 0
    doomed = [connection for connection in mine if connection.identity not in known]
    for connection in doomed:
        connection.close(TOKEN_UNREGISTERED)
    return len(doomed)
