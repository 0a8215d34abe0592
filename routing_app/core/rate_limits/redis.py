"""Counts that all workers share, on one Redis server.

The checks of one turn of the event loop go out together, and are answered together: each is one step of the
server, which counts by all limits or, where one refuses, by none. While the server is out nothing waits for
it: the caller counts by itself, and a task looks for the server until it is back.

| key | type | holds |
|---|---|---|
| `<prefix>.l.<limit>.<hash>` | string | the time in µs at which all that was taken has come back |
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import blake2b, sha1
from typing import Any, Final

from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from routing_app.core import metrics
from routing_app.core.cluster.redis_pipeline import RedisPipeline, packed
from routing_app.core.ending import end_tasks
from routing_app.core.models.rate_limits import Then
from routing_app.core.rate_limits.limit import LONGEST_WAIT, Excess, Limit, worse
from routing_app.core.standstill import Within

logger = logging.getLogger(__name__)

PREFIX: Final = "switchboard"
CONNECT_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 0.5
"""Longest wait for answers; then the server is out."""
PAUSE_SECONDS: Final = 0.25
"""Between two looks for a server that is out."""
MAX_BATCH: Final = 512
MICROSECONDS: Final = 1e6
EPOCH: Final = 1_700_000_000
"""Times count from here on, so that a float holds them to a fraction of a microsecond."""

SCRIPT: Final = f"""
local time = redis.call('TIME')
local now = (time[1] - {EPOCH}) * 1000000 + time[2] + tonumber(ARGV[1])
local refused, starts, answer = 0, {{}}, {{0}}
for i = 1, #KEYS do
  local start = math.max(tonumber(redis.call('GET', KEYS[i]) or 0), now)
  local early = start - now - tonumber(ARGV[3 * i])
  starts[i] = start
  if early > tonumber(ARGV[3 * i + 1]) then
    answer[1] = 1
  end
  answer[i + 1] = math.ceil(math.max(early, 0))
end
if answer[1] == 0 then
  for i = 1, #KEYS do
    local till = starts[i] + tonumber(ARGV[3 * i - 1])
    local left = string.format('%.0f', math.ceil((till - now) / 1000) + 1)
    redis.call('SET', KEYS[i], string.format('%.3f', till), 'PX', left)
  end
end
return answer
"""
"""ARGV: microseconds that the clock is ahead; of each key what is taken, the room, and the longest wait."""
DIGEST: Final = sha1(SCRIPT.encode()).hexdigest()  # noqa: S324 - Redis names scripts so

Take = tuple[Limit, str]
"""A limit, and what of it is counted."""
Answer = Excess | None
ROUNDED: Final = 1.0
"""Microseconds by which something may seem too early because the server's clock has whole ones."""


class Unreachable(Exception):
    """The server has not answered: nobody knows whether it has counted."""


class RedisCounts:
    """The counts on one server. `ahead` is how many seconds their time is ahead of the server's."""

    def __init__(self, url: str, prefix: str = PREFIX, ahead: Callable[[], float] = lambda: 0.0) -> None:
        self._redis = RedisPipeline(url, CONNECT_SECONDS)
        self._prefix = prefix
        self._ahead = ahead
        self._is_out = False
        self._waiting: deque[tuple[bytes, asyncio.Future[Any]]] = deque()
        self._sent: deque[asyncio.Future[Any]] = deque()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def is_out(self) -> bool:
        """True while the server does not answer."""
        return self._is_out or self._stopped

    async def take(self, takes: Sequence[Take], cost: int, may_wait: bool) -> Answer:
        """Count, as `limit.take`. Raises Unreachable, at once while the server is out."""
        if self.is_out:
            raise Unreachable
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._command(takes, cost, may_wait), answer))
        self._work.set()
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        counted = await answer
        if counted is None:
            raise Unreachable
        return _excess(takes, counted, may_wait)

    async def stop(self) -> None:
        """Answer what waits, and close the connection."""
        self._stopped = True
        if self._task is not None:
            await end_tasks([self._task])
        self._give_up()
        await self._redis.close()

    def key(self, limit: Limit, name: str) -> str:
        """The key of a count. What is counted may let a client in: only its hash is stored."""
        text = f"{limit.rate} {limit.burst} {name}"
        hashed = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"{self._prefix}.l.{limit.id}.{hashed}"

    def _command(self, takes: Sequence[Take], cost: int, may_wait: bool) -> bytes:
        arguments: list[Any] = [f"{self._ahead() * MICROSECONDS:.0f}"]
        for limit, _ in takes:
            longest = LONGEST_WAIT if limit.waits and may_wait else 0.0
            times = (limit.interval * cost, limit.room(cost), longest + ROUNDED / MICROSECONDS)
            arguments += [f"{seconds * MICROSECONDS:.3f}" for seconds in times]
        return packed(
            b"EVALSHA", DIGEST, len(takes), *(self.key(limit, name) for limit, name in takes), *arguments
        )

    # --- the task -----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                await self._connect()
                await self._serve()
            except (RedisError, OSError, TimeoutError, ValueError) as error:
                metrics.LAYER_ERRORS.inc()
                if not self._is_out:
                    logger.warning(
                        "rate limits: Redis is out (%s); this process counts by itself until it is back",
                        type(error).__name__,
                    )
            except Exception:
                logger.exception("rate limits: counting failed and goes on")
            was_out, self._is_out = self._is_out, True
            self._give_up()
            await self._redis.drop()
            # A connection that was closed while it was idle says nothing of the server: one look at once.
            if was_out:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _connect(self) -> None:
        """Raises RedisError, OSError, TimeoutError, ValueError."""
        # A replica has the script as well, and cannot count.
        await self._redis.open(("SCRIPT", "LOAD", SCRIPT))
        if self._is_out:
            logger.info("rate limits: Redis counts again")
        self._is_out = False

    async def _serve(self) -> None:
        """Send what waits, and read the answers, until the connection breaks."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                async with Within(ANSWER_SECONDS):
                    await self._exchange()

    async def _exchange(self) -> None:
        commands = []
        for _ in range(min(MAX_BATCH, len(self._waiting))):
            command, answer = self._waiting.popleft()
            commands.append(command)
            self._sent.append(answer)
        await self._redis.send(b"".join(commands))
        while self._sent:
            counted = None
            try:
                counted = await self._redis.read()
            except (NoScriptError, ReadOnlyError):
                raise
            except ResponseError as error:
                logger.warning("rate limits: Redis refused a step: %s", error)
            answer = self._sent.popleft()
            if not answer.done():
                answer.set_result(counted)

    def _give_up(self) -> None:
        """Have callers count by themselves."""
        for answer in [*self._sent, *(answer for _, answer in self._waiting)]:
            if not answer.done():
                answer.set_result(None)
        self._sent.clear()
        self._waiting.clear()


def _excess(takes: Sequence[Take], counted: Sequence[int], may_wait: bool) -> Answer:
    is_refused, *earlies = counted
    delay, refused = 0.0, None
    for (limit, _), early in zip(takes, earlies, strict=True):
        if early <= ROUNDED:
            continue
        seconds = early / MICROSECONDS
        if limit.waits and may_wait and seconds <= LONGEST_WAIT + ROUNDED / MICROSECONDS:
            delay = max(delay, seconds)
        else:
            refused = worse(refused, limit, seconds)
    if is_refused:
        return refused
    return Excess(Then.WAIT, delay) if delay else None
