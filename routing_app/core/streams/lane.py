"""One connection to Redis for scripts: calls go out in order, many at a time, and are answered in order.

A call knows which server process it is for: one that was made for the process before must not reach one that
was started from an old snapshot. So a connection is used until it breaks, and the next one asks for the run
id first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import BusyLoadingError, NoScriptError, ReadOnlyError, RedisError, ResponseError

from routing_app.core import metrics
from routing_app.core.cluster.redis_pipeline import RedisPipeline, packed
from routing_app.core.ending import end_tasks
from routing_app.core.standstill import Within
from routing_app.core.streams.scripts import ALL, digest
from routing_app.core.streams.store import StoreUnavailable

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 1.0
"""Longest wait of a call until it goes out."""
ANSWER_SECONDS: Final = 3.0
"""Longest wait for the answers to calls that have gone out; then nobody knows what became of them."""
CONNECT_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 0.1
"""A connection that was not used for so long is looked at first: what is sent into a closed one is lost."""
PAUSE_SECONDS: Final = 0.1
"""Between two attempts to connect."""
MAX_BATCH: Final = 256
MAX_WAITING: Final = 20_000
NOT_RUN: Final = (NoScriptError, ReadOnlyError, BusyLoadingError)
"""Answers of a server that has not run the script: another connection may find one that does."""

Answered = Callable[[Any], None]
"""Takes the answer to a call, or a StoreUnavailable."""


@dataclass(slots=True, eq=False)
class _Call:
    script: str
    """Digest of the script."""
    keys: tuple[str, ...]
    arguments: tuple[Any, ...]
    """Those behind the run id."""
    answered: Answered
    until: float


class Lane:
    """Calls of scripts, in order."""

    def __init__(self, url: str) -> None:
        self._redis = RedisPipeline(url, CONNECT_SECONDS)
        self._run_id = b""
        self._used_at = 0.0
        self._is_out = False
        self._waiting: deque[_Call] = deque()
        self._sent: list[_Call] = []
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def call(
        self, script: str, keys: tuple[str, ...], arguments: tuple[Any, ...], answered: Answered
    ) -> None:
        """Have `answered` called with the answer, or with StoreUnavailable."""
        if self._stopped or len(self._waiting) >= MAX_WAITING:
            answered(StoreUnavailable("stopped" if self._stopped else "too many calls wait"))
            return
        until = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        self._waiting.append(_Call(digest(script), keys, arguments, answered, until))
        self._work.set()
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    async def ask(self, script: str, keys: tuple[str, ...], arguments: tuple[Any, ...]) -> Any:
        """The answer. Raises StoreUnavailable."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(one: Any) -> None:
            if not answer.done():
                answer.set_result(one)

        self.call(script, keys, arguments, answered)
        result = await answer
        if isinstance(result, StoreUnavailable):
            raise result
        return result

    async def settle(self) -> None:
        """Wait until every call is answered, for as long as one may wait."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while self._waiting or self._sent:
                    await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Answer what waits with StoreUnavailable, and close the connection."""
        self._stopped = True
        if self._task is not None:
            await end_tasks([self._task])
        calls, self._sent, self._waiting = [*self._sent, *self._waiting], [], deque()
        _fail(calls, "stopped")
        await self._redis.close()

    # --- the task -----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                try:
                    await self._step()
                except Exception:
                    logger.exception("the store of streams failed and goes on")
                    await self._lose()

    async def _step(self) -> None:
        """Connect if need be, send what waits, and read the answers."""
        if not await self._is_open():
            await self._redis.drop()
            try:
                await self._connect()
            except (RedisError, OSError, TimeoutError, ValueError) as error:
                metrics.LAYER_ERRORS.inc()
                if not self._is_out:
                    logger.warning("the store of streams cannot be reached: %s", type(error).__name__)
                self._is_out = True
                await self._redis.drop()
                self._expire()
                await asyncio.sleep(PAUSE_SECONDS)
                return
        self._expire()
        self._sent = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
        if not self._sent:
            return
        try:
            async with Within(ANSWER_SECONDS):
                await self._exchange()
        except (RedisError, OSError, TimeoutError) as error:
            metrics.LAYER_ERRORS.inc()
            logger.warning("the connection to the store of streams was lost: %s", type(error).__name__)
            await self._lose()

    async def _lose(self) -> None:
        """Drop the connection; nobody knows what became of the calls that have gone out."""
        calls, self._sent = self._sent, []
        _fail(calls, "no answer")
        await self._redis.drop()

    async def _is_open(self) -> bool:
        """False without a connection, and for one that the other end has closed while it was idle."""
        if asyncio.get_running_loop().time() - self._used_at < IDLE_SECONDS:
            return self._redis.is_connected
        return await self._redis.is_usable()

    async def _exchange(self) -> None:
        commands = b"".join(
            packed(b"EVALSHA", one.script, len(one.keys), *one.keys, self._run_id, *one.arguments)
            for one in self._sent
        )
        await self._redis.send(commands)
        again: list[_Call] = []
        try:
            await self._read_answers(again)
        finally:  # also of a connection that ends behind the first answers
            self._waiting.extendleft(reversed(again))
        self._used_at = asyncio.get_running_loop().time()
        if again:
            await self._redis.drop()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read_answers(self, again: list[_Call]) -> None:
        """Answer the calls that have gone out; those that the server has not run go to `again`."""
        while self._sent:
            answer: Any
            try:
                answer = await self._redis.read()
            except NOT_RUN:
                again.append(self._sent.pop(0))
                continue
            except ResponseError as error:
                logger.warning("the store of streams refused a step: %s", error)
                answer = StoreUnavailable("refused")
            _answer(self._sent.pop(0), answer)

    async def _connect(self) -> None:
        """Raises RedisError, OSError, TimeoutError, ValueError."""
        scripts = [("SCRIPT", "LOAD", script) for script in ALL]
        info, *_ = await self._redis.open(("INFO", "server"), *scripts)
        self._run_id = _run_id(info)
        self._is_out = False

    def _expire(self) -> None:
        """Answer calls that have waited too long: they have not gone out, and never will."""
        now = asyncio.get_running_loop().time()
        while self._waiting and self._waiting[0].until < now:
            _fail([self._waiting.popleft()], "not reached")


def _run_id(info: Any) -> bytes:
    text = info if isinstance(info, bytes) else str(info).encode()
    for line in text.splitlines():
        if line.startswith(b"run_id:"):
            return line.removeprefix(b"run_id:").strip()
    raise ValueError("the server does not tell its run id")


def _answer(call: _Call, answer: Any) -> None:
    try:
        call.answered(answer)
    except Exception:
        logger.exception("an answer of the store of streams could not be taken")


def _fail(calls: list[_Call], reason: str) -> None:
    for call in calls:
        _answer(call, StoreUnavailable(reason))
