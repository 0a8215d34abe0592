"""Scenes of servers that count in Redis, which they do without it once an answer takes half a second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from tests.services.server import Server
from tests.services.waiting import wait_until

SCENES: Final = 3
"""How often a scene is played at most."""
OUT: Final = "rate limits: Redis is out"
BACK: Final = "rate limits: Redis counts again"


def again_if_redis_was_out(*, but: int = 0) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Have a test that failed play its scene again, with new limits, if a server counted by itself meanwhile.

    The scene itself has each server do so `but` times.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def play(**fixtures: Any) -> None:
            for scene in range(1, SCENES + 1):
                with _scene(fixtures, but, scene == SCENES) as outcome:
                    test(**fixtures)
                if outcome:
                    return

        return play

    return decorate


def async_again_if_redis_was_out(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The same for a coroutine function."""

    @wraps(test)
    async def play(**fixtures: Any) -> None:
        for scene in range(1, SCENES + 1):
            with _scene(fixtures, 0, scene == SCENES) as outcome:
                await test(**fixtures)
            if outcome:
                return

    return play


@contextmanager
def _scene(fixtures: Mapping[str, Any], but: int, is_last: bool) -> Iterator[list[bool]]:
    """What is yielded is filled if the scene counts, and left empty if it has to be played again."""
    servers = [one for value in fixtures.values() for one in _servers(value)]
    wait_until(lambda: all(_count(one, OUT) == _count(one, BACK) for one in servers))
    before = [_count(one, OUT) + but for one in servers]
    outcome: list[bool] = []
    try:
        yield outcome
    except Exception:
        was_out = any(_count(one, OUT) > most for one, most in zip(servers, before, strict=True))
        if is_last or not was_out:
            raise
    else:
        outcome.append(True)


def _servers(value: Any) -> list[Server]:
    """Those that a fixture is."""
    each = value if isinstance(value, tuple) else (value,)
    return [one for one in each if isinstance(one, Server)]


def _count(server: Server, marker: str) -> int:
    return server.log_text().count(marker)
