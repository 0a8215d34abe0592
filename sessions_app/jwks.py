"""Publishers' keys that are fetched from a URL: when to ask, and what to go by meanwhile.

One fetch at a time for a URL, in a thread of its own, so that nobody else's keys wait for it. Keys are kept
for KEPT_SECONDS, and longer while the URL fails. After any fetch the URL is left alone for RETRY_SECONDS;
a token that no key fits asks early, but only every EARLY_SECONDS, since anybody can make such a token.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from math import inf
from threading import Lock, Thread
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
import orjson

from routing_app.core import metrics
from sessions_app.fetch import PATIENCE_SECONDS, FetchFailed, Reason, fetch

logger = logging.getLogger(__name__)

KEPT_SECONDS: Final = 300.0
STALE_SECONDS: Final = 86_400.0
"""How long keys are good for while their URL fails."""
RETRY_SECONDS: Final = 5.0
EARLY_SECONDS: Final = 30.0


class KeysUnavailable(Exception):
    """The publisher's JWKS cannot be fetched, so this token cannot be checked now; the text says why."""


class KeySet:
    """The keys behind one URL. Used from any thread and event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = Lock()
        self._keys: tuple[jwt.PyJWK, ...] = ()
        self._fetched_at = -inf
        self._not_before = -inf
        self._early_not_before = -inf
        self._why = "not asked yet"
        self._flight: Future[bool] | None = None
        self._overdue_at = inf

    async def keys(self, kid: Any) -> list[Any]:
        """The keys that a token with this `kid`, or None, may be signed with: those of the `kid` before those
        that have none. Raises KeysUnavailable."""
        if self._age() >= KEPT_SECONDS:
            await self._ask()
        if self._age() >= STALE_SECONDS:
            raise self._unavailable()
        fitting = [one for one in self._keys if kid is None or one.key_id == kid or not one.key_id]
        return [one.key for one in sorted(fitting, key=lambda one: not one.key_id)]

    async def newer_keys(self, kid: Any) -> list[Any]:
        """The same after asking early, for a token that none of the keys fits; none where it is too early.
        Raises KeysUnavailable when those at hand are too old to refuse a token by."""
        if await self._ask(early=True):
            return await self.keys(kid)
        if self._age() >= KEPT_SECONDS:
            raise self._unavailable()
        return []

    def _age(self) -> float:
        return monotonic() - self._fetched_at

    def _unavailable(self) -> KeysUnavailable:
        return KeysUnavailable(f"{_shown(self._url)}: {self._why}")

    async def _ask(self, early: bool = False) -> bool:
        """Fetch, or wait for the fetch that is under way; whether it brought keys."""
        flight = self._boarded(early)
        if flight is None:
            return False
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await asyncio.wrap_future(flight)
        except TimeoutError:
            self._why = "no answer in time"
            return False

    def _boarded(self, early: bool) -> Future[bool] | None:
        """The fetch to wait for, which is started if there is none; None where nobody should wait."""
        with self._lock:
            now = monotonic()
            if self._flight is not None:
                return self._flight if now < self._overdue_at else None
            if now < max(self._not_before, self._early_not_before if early else -inf):
                return None
            if early:
                self._early_not_before = now + EARLY_SECONDS
            flight: Future[bool] = Future()
            flight.set_running_or_notify_cancel()  # who leaves does not cancel it for the others
            Thread(target=self._fly, args=(flight,), name="jwks", daemon=True).start()
            self._flight, self._overdue_at = flight, now + PATIENCE_SECONDS
            return flight

    def _fly(self, flight: Future[bool]) -> None:
        keys: tuple[jwt.PyJWK, ...] = ()
        outcome, why = "fetched", ""
        try:
            keys = signing_keys(fetch(self._url))
        except FetchFailed as failure:
            outcome, why = failure.reason, str(failure)
        except Exception as error:
            outcome, why = Reason.EXCEPTION, type(error).__name__
        metrics.KEY_FETCHES.labels(outcome).inc()
        with self._lock:
            self._flight = None
            self._not_before = monotonic() + RETRY_SECONDS
            if keys:
                self._keys, self._fetched_at = keys, monotonic()
            self._why = why
        if why:
            logger.warning("sessions: keys cannot be fetched from %s: %s", _shown(self._url), why)
        flight.set_result(bool(keys))


def signing_keys(document: bytes) -> tuple[jwt.PyJWK, ...]:
    """The keys of a JWKS that may have signed something; what cannot be understood is left out. Raises
    FetchFailed when none is left."""
    keys = []
    try:
        offered = orjson.loads(document)["keys"]
    except (ValueError, TypeError, KeyError):
        raise FetchFailed(Reason.CONTENT, "not a JWKS") from None
    for one in offered if isinstance(offered, list) else []:
        with suppress(jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
            key = jwt.PyJWK(one)
            if key.public_key_use in ("sig", None):
                keys.append(key)
    if not keys:
        raise FetchFailed(Reason.CONTENT, "a JWKS without keys to check signatures with")
    return tuple(keys)


@lru_cache(maxsize=4096)
def key_set(url: str) -> KeySet:
    """The key set of a URL, which is always the same."""
    return KeySet(url)


def _shown(url: str) -> str:
    """A URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
