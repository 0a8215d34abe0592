"""The witness, Redis: workers tell it before they set forward the time that leases are measured in
(`reach.py`).

It keeps one word, which every advance replaces. Two looks that find the same word prove that no advance has
begun between them; a look that fails proves nothing.
"""

from __future__ import annotations

import logging
import secrets
from time import monotonic
from typing import Any, Final, Protocol

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from routing_app.core.cluster.redis_urls import async_client_of, is_sentinel, split

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 1.0
SLEPT_SECONDS: Final = 4.0
"""A worker that looks every second and finds that so much has passed has slept."""


class Witness(Protocol):
    """The witness of one database, which `mark` names."""

    async def tell(self, mark: str) -> bool:
        """Say that an advance begins; False when it was not received for sure."""

    async def look(self, mark: str) -> str | None:
        """The word now; None without an answer."""

    async def close(self) -> None:
        """End."""


class RedisWitness:
    """The word is a key of its own for each database.

    One connection, and no second attempt: if Redis has restarted since the last look, that look fails.
    A restarted Redis may have come back with an old word, from which nothing follows.
    """

    def __init__(self, url: str) -> None:
        self._redis: Any = async_client_of(
            url,
            single_connection_client=True,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    async def tell(self, mark: str) -> bool:
        """Replace the word."""
        try:
            return bool(await self._redis.set(_key(mark), secrets.token_hex(8)))
        except Exception as error:
            await self._lost(error)
            return False

    async def look(self, mark: str) -> str | None:
        """The word; None, too, when Redis has forgotten it: somebody may have replaced it before."""
        try:
            word: str | None = await self._redis.get(_key(mark))
        except Exception as error:
            await self._lost(error)
            return None
        return word

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()

    async def _lost(self, error: Exception) -> None:
        logger.debug("lease: the witness is out: %s", type(error).__name__)
        if self._redis.connection is not None:
            await self._redis.connection.disconnect(nowait=True)


class Alone:
    """Without Redis one process serves, by itself: nobody else advances. While it slept another may have
    taken its place, so the word changes."""

    def __init__(self) -> None:
        self._word = 0
        self._looked_at = monotonic()

    async def tell(self, mark: str) -> bool:
        """There is nobody to tell."""
        return True

    async def look(self, mark: str) -> str | None:
        """The same as before, unless it was long ago."""
        now = monotonic()
        if now - self._looked_at > SLEPT_SECONDS:
            self._word += 1
        self._looked_at = now
        return str(self._word)

    async def close(self) -> None:
        """Nothing to close."""


class Blind:
    """With Sentinel there may be two masters for a while, each with a word of its own, so no word proves
    anything. A worker that cannot reach the database takes its leases for ended when their time is over."""

    async def tell(self, mark: str) -> bool:
        """Nobody relies on it."""
        return True

    async def look(self, mark: str) -> str | None:
        """Never an answer."""
        return None

    async def close(self) -> None:
        """Nothing to close."""


def _key(mark: str) -> str:
    return f"switchboard:witness:{mark}"


def witness_of(redis_url: str) -> Witness:
    """The one of an installation: the first of its Redis servers."""
    if not redis_url:
        return Alone()
    first, *_ = split(redis_url)
    return Blind() if is_sentinel(first) else RedisWitness(first)
