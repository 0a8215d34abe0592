"""An access token, and where it comes from."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Final

Token = str | Callable[[], str | Awaitable[str]]
"""An access token, or a function that returns one, which may be a coroutine function."""

EXPIRED: Final = 4005
"""The close code of a connection whose token has expired."""


class NoToken(ConnectionError):
    """The function that gives access tokens has failed."""


class TokenSource:
    """Gives a connection a token for each socket, and another before that expires."""

    def __init__(self, source: Token) -> None:
        self._source = source

    @property
    def renews(self) -> bool:
        """True when there can be another one."""
        return callable(self._source)

    async def get(self) -> str:
        """The token to present now. Raises what the function raises."""
        token = self._source() if callable(self._source) else self._source
        return await token if inspect.isawaitable(token) else token
