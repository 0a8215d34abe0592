"""Wait for a condition: `until` on an event loop, `wait_until` in blocking code."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final

PAUSE: Final = 0.01
"""Seconds between two looks."""
SECONDS: Final = 150.0
"""Longest wait, where nothing else is said: for what hangs, not for what is slow."""


async def until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return the first true value of a condition, which may be a coroutine function.

    `AssertionError` with the last value seen when none is true within `seconds`. A look that does
    not return in time ends with it.
    """
    seen: Any = "nothing: the first look did not return"
    try:
        async with asyncio.timeout(seconds) as limit:
            while not (seen := await _look(condition)):
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError(_failure(seconds, seen)) from None
    return seen


def wait_until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Do the same as `until`, but block the thread; the condition is a plain function."""
    deadline = time.monotonic() + seconds
    while not (seen := condition()):
        assert time.monotonic() < deadline, _failure(seconds, seen)
        time.sleep(PAUSE)
    return seen


async def until_equal(wanted: Any, look: Callable[[], Awaitable[Any]], seconds: float = SECONDS) -> None:
    """Wait until `await look()` equals `wanted`; fails with what it last found."""
    found: Any = None

    async def equal() -> bool:
        nonlocal found
        found = await look()
        return bool(found == wanted)

    try:
        await until(equal, seconds)
    except AssertionError:
        raise AssertionError(f"not {wanted!r} after {seconds:g} s; last seen: {found!r}") from None


async def _look(condition: Callable[[], Any]) -> Any:
    value = condition()
    return await value if isawaitable(value) else value


def _failure(seconds: float, seen: Any) -> str:
    return f"not true after {seconds:g} s; last seen: {seen!r}"
