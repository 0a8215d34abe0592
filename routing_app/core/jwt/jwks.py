"""Keys that are fetched from a URL: when to fetch, and which keys count until then.

One fetch at a time for a URL, in a thread of its own, so that no other URL's keys wait for it. Keys are kept
for KEPT_SECONDS, and longer while the URL fails, which is left alone for RETRY_SECONDS then. A token that
no key fits has them fetched early, but only every EARLY_SECONDS, since anybody can make such a token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
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
from routing_app.core.jwt.fetch import TOTAL_SECONDS, FetchFailed, Reason, fetch

logger = logging.getLogger(__name__)

KEPT_SECONDS: Final = 300.0
STALE_SECONDS: Final = 86_400.0
"""Keys are good for so long while their URL fails."""
RETRY_SECONDS: Final = 5.0
EARLY_SECONDS: Final = 30.0


class KeysUnavailable(Exception):
    """The JWKS cannot be fetched, so this token cannot be checked now; the message says why."""


class KeySet:
    """The keys behind one URL. Used from any thread and event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = Lock()
        self._keys: tuple[jwt.PyJWK, ...] = ()
        self._fetched_at = -inf
        self._not_before = -inf
        self._early_not_before = -inf
        self._why = "not fetched yet"
        self._fetching: Future[bool] | None = None
        self._overdue_at = inf

    async def offers(self, kid: Any) -> AsyncIterator[list[Any]]:
        """The keys that a token with this `kid`, or None, may be signed with: those at hand, then, for a
        token that none of these fits, newer ones, where it is time to fetch early.

        Raises KeysUnavailable when there are none, or those at hand are too old to refuse a token by.
        """
        if self._age() >= KEPT_SECONDS:
            await self._refresh()
        if self._age() >= STALE_SECONDS:
            raise self._unavailable()
        tried = self._keys
        yield _fitting(tried, kid)
        # Twice: a fetch that was under way already may have begun before the newest key was offered.
        for _ in range(2):
            await self._refresh(early=True)
            if self._keys is tried:
                break
            tried = self._keys
            yield _fitting(tried, kid)
        if self._age() >= KEPT_SECONDS:
            raise self._unavailable()

    def _age(self) -> float:
        return monotonic() - self._fetched_at

    def _unavailable(self) -> KeysUnavailable:
        return KeysUnavailable(f"{_shown(self._url)}: {self._why}")

    async def _refresh(self, early: bool = False) -> bool:
        """Fetch, or wait for the fetch that is under way; whether it brought keys."""
        fetch = self._current_fetch(early)
        if fetch is None:
            return False
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                return await asyncio.wrap_future(fetch)
        except TimeoutError:
            self._why = "no answer in time"
            return False

    def _current_fetch(self, early: bool) -> Future[bool] | None:
        """The fetch to wait for, which is started if there is none; None where it is too early for one,
        or the one that runs is overdue."""
        with self._lock:
            now = monotonic()
            if self._fetching is not None:
                return self._fetching if now < self._overdue_at else None
            if now < max(self._not_before, self._early_not_before if early else -inf):
                return None
            if early:
                self._early_not_before = now + EARLY_SECONDS
            fetching: Future[bool] = Future()
            # As running it cannot be cancelled: a caller that stops waiting does not end it for the others.
            fetching.set_running_or_notify_cancel()
            Thread(target=self._fetch, args=(fetching,), name="jwks", daemon=True).start()
            self._fetching, self._overdue_at = fetching, now + TOTAL_SECONDS
            return fetching

    def _fetch(self, fetching: Future[bool]) -> None:
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
            self._fetching = None
            if keys:
                self._keys, self._fetched_at, self._not_before = keys, monotonic(), -inf
            else:
                self._not_before = monotonic() + RETRY_SECONDS
            self._why = why
        if why:
            logger.warning("jwt: keys cannot be fetched from %s: %s", _shown(self._url), why)
        fetching.set_result(bool(keys))


def _fitting(keys: Sequence[jwt.PyJWK], kid: Any) -> list[Any]:
    """Those of the `kid` before those that have none."""
    fitting = [one for one in keys if kid is None or one.key_id == kid or not one.key_id]
    return [one.key for one in sorted(fitting, key=lambda one: not one.key_id)]


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
