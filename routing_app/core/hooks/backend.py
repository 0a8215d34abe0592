"""One hook as it is asked: its connections, its turns, its breaker."""

from __future__ import annotations

import asyncio
import logging
import secrets
from enum import Enum
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from routing_app.core import json, metrics, tracing
from routing_app.core.hooks.breaker import ALONE_SECONDS, Attempt, Breaker
from routing_app.core.hooks.question import Question, Verdict, WrongAnswer
from routing_app.core.models.hooks import Fail
from routing_app.core.outgoing.failures import CallFailed
from routing_app.core.outgoing.signature import sign

if TYPE_CHECKING:
    from routing_app.core.outgoing.kept import Endpoint

logger = logging.getLogger(__name__)

MAX_UNDER_WAY: Final = 256
"""Questions of one worker to one hook at a time; others wait for their turn, within the timeout."""
MAX_ANSWER: Final = 2**20
"""Bytes of an answer, which may hold a message or a reply."""
OK: Final = 200
LOG_SECONDS: Final = 5.0
"""Between two lines of the log about failures of one hook."""


class Outcome(Enum):
    """The end of a question: the `outcome` label of `switchboard_hooks_total`."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    ANSWERED = "answered"
    FAILED = "failed"
    BUSY = "busy"
    LEFT_ALONE = "left_alone"


class Failed(Exception):
    """There is no answer to go by; the message says why."""


def _endpoint(url: str) -> Endpoint | None:
    """The endpoint of a hook; None for a URL that cannot be called: another program may have written it."""
    from routing_app.core.outgoing.kept import Endpoint  # noqa: PLC0415 - only where there is a hook

    try:
        return Endpoint(url, MAX_ANSWER)
    except ValueError:
        return None


class Backend:
    """A hook, as long as its row stays the same. `timeout` is seconds."""

    def __init__(
        self, id: int, on: str, url: str, timeout: float, fail: str, headers: frozenset[str], secret: str
    ) -> None:
        self.id = id
        self._on = on
        self._timeout = timeout
        self._is_open = fail == Fail.OPEN
        self._headers = headers
        self._secret = secret
        self._endpoint = _endpoint(url)
        self._turns = asyncio.Semaphore(MAX_UNDER_WAY)
        self.breaker = Breaker(monotonic)
        self._is_closed = False
        self._logged_at = -LOG_SECONDS
        self._counted = {one: metrics.HOOKS.labels(on, one.value) for one in Outcome}
        self.outcomes = dict.fromkeys(Outcome, 0)
        """How the questions to it have ended in this process."""
        self._times = metrics.HOOK.labels(on)

    async def ask(self, question: Question, verdict: Verdict) -> None:
        """Ask, and write the answer into the verdict; where there is none, `fail` is the answer."""
        begun = monotonic()
        with tracing.span("hook", "CLIENT", on=self._on):
            outcome = await self._outcome(question, verdict)
        self._counted[outcome].inc()
        self.outcomes[outcome] += 1
        if outcome is not Outcome.LEFT_ALONE:
            self._times.observe(monotonic() - begun)
        if outcome in (Outcome.FAILED, Outcome.BUSY, Outcome.LEFT_ALONE):
            verdict.unavailable = True
            verdict.allow = self._is_open

    def sweep(self) -> None:
        """Close connections that nobody has used for a while."""
        if self._endpoint is not None:
            self._endpoint.sweep()

    def close(self) -> None:
        """It is asked no more; questions under way end by themselves."""
        if self._endpoint is not None:
            self._endpoint.close()
        if self.breaker.is_open and not self._is_closed:
            metrics.HOOKS_LEFT_ALONE.dec()
        self._is_closed = True

    async def _outcome(self, question: Question, verdict: Verdict) -> Outcome:
        body = question.body(self._on, self._headers)
        if (attempt := self.breaker.attempt()) is None:
            return Outcome.LEFT_ALONE
        is_asked = False
        try:
            async with asyncio.timeout(self._timeout), self._turns:
                is_asked = True
                answer = await self._post(body)
            verdict.take(self._on, answer, question)
        except asyncio.CancelledError:
            self.breaker.gave_up(attempt)
            raise
        except TimeoutError:
            if not is_asked:
                self.breaker.gave_up(attempt)
                return Outcome.BUSY
            self._has_failed(attempt, f"no answer within {self._timeout:g} s")
        except (Failed, WrongAnswer) as error:
            self._has_failed(attempt, str(error))
        except OSError as error:
            self._has_failed(attempt, error.strerror or type(error).__name__)
        else:
            if self.breaker.succeeded():
                metrics.HOOKS_LEFT_ALONE.dec(not self._is_closed)
                logger.info("hook %d answers again", self.id)
            if verdict.answered:
                return Outcome.ANSWERED
            return Outcome.ALLOWED if verdict.allow else Outcome.REFUSED
        return Outcome.FAILED

    async def _post(self, body: bytes) -> Any:
        """The answer as JSON. Raises Failed, OSError."""
        if self._endpoint is None:
            raise Failed("its URL cannot be called")
        headers = sign([self._secret], f"hook_{secrets.token_hex(12)}", int(time()), body)
        try:
            status, answer = await self._endpoint.post(headers, body)
        except CallFailed as error:
            raise Failed(str(error)) from None
        if status != OK:
            raise Failed(f"expected the status 200, but got {status}")
        try:
            return json.loads(answer)
        except json.NotJSON:
            raise Failed("expected JSON") from None

    def _has_failed(self, attempt: Attempt, why: str) -> None:
        holds = "open" if self._is_open else "closed"
        if self.breaker.failed(attempt):
            metrics.HOOKS_LEFT_ALONE.inc(not self._is_closed)
            logger.warning(
                "hook %d (%s) is left alone for %d s, `fail` is `%s`: %s",
                self.id,
                self._on,
                ALONE_SECONDS,
                holds,
                why,
            )
        elif monotonic() - self._logged_at >= LOG_SECONDS:
            self._logged_at = monotonic()
            logger.warning("hook %d (%s) has failed, `fail` is `%s`: %s", self.id, self._on, holds, why)
