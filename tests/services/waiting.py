"""Wait for a condition: `until` on an event loop, `wait_until` in blocking code.

`undisturbed` is for the few tests whose clients have to do something in time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final, TypeVar

T = TypeVar("T")

PAUSE: Final = 0.01
"""Seconds between two looks."""
SECONDS: Final = 150.0
"""Longest wait, where nothing else is said: for what hangs, not for what is slow."""
ATTEMPTS: Final = 20
"""Attempts of `undisturbed`."""


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


async def undisturbed(attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Return what an attempt returns; make it again where it fails and this process stood still meanwhile.

    A client that had no time for so many seconds was late: that says nothing of the server.
    """
    for _ in range(ATTEMPTS):
        gaps = _Gaps()
        watching = asyncio.ensure_future(gaps.watch())
        try:
            return await attempt()
        except Exception:
            if gaps.longest() < seconds:
                raise
        finally:
            watching.cancel()
    raise AssertionError(f"in none of {ATTEMPTS} attempts this process had time in each {seconds:g} s")


class _Gaps:
    """The longest time in which the loop took no turn."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._last = time.monotonic()

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            self.longest()

    def longest(self) -> float:
        now = time.monotonic()
        self._longest, self._last = max(self._longest, now - self._last), now
        return self._longest


async def _look(condition: Callable[[], Any]) -> Any:
    value = condition()
    return await value if isawaitable(value) else value


def _failure(seconds: float, seen: Any) -> str:
    return f"not true after {seconds:g} s; last seen: {seen!r}"
