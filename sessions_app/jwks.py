"""Publishers' keys that are fetched from a URL, and kept; one that fails is left alone for a while."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from time import monotonic
from typing import Any, Final

import jwt

TIMEOUT_SECONDS: Final = 3.0
KEPT_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 5.0
"""After a fetch has failed. Whoever comes meanwhile is told so at once: they would all wait for the timeout,
in the threads that other publishers' tokens are checked in as well."""


class KeysUnavailable(Exception):
    """The publisher's JWKS cannot be fetched, so no token of it can be checked now."""


class KeySet:
    """The keys behind one URL. Used from several threads."""

    def __init__(self, url: str) -> None:
        # It asks again early for an unknown `kid`, but not often.
        self._client = jwt.PyJWKClient(url, timeout=TIMEOUT_SECONDS, lifespan=KEPT_SECONDS)
        self._lock = Lock()
        self._retry_at = 0.0

    def keys(self, kid: Any) -> list[Any]:
        """The keys that a token with this `kid`, or None, may be signed with. Raises KeysUnavailable."""
        with self._lock:
            if monotonic() < self._retry_at:
                raise KeysUnavailable("the last fetch has failed")
            try:
                return self._fetched(kid)
            except jwt.PyJWKClientConnectionError as error:
                self._retry_at = monotonic() + RETRY_SECONDS
                raise KeysUnavailable(str(error)) from None
            except (jwt.PyJWTError, ValueError, RecursionError):
                return []

    def _fetched(self, kid: Any) -> list[Any]:
        if isinstance(kid, str):
            return [self._client.get_signing_key(kid).key]
        return [one.key for one in self._client.get_signing_keys()] if kid is None else []


@lru_cache(maxsize=256)
def key_set(url: str) -> KeySet:
    """The key set of a URL, which is always the same."""
    return KeySet(url)
