"""Waiting returns what it waited for, and says what it last saw when that does not come."""

import time
from collections.abc import Awaitable, Callable

import pytest

from tests.services import waiting
from tests.services.waiting import undisturbed, until, until_equal, wait_until

pytestmark = pytest.mark.once


async def test_the_first_true_value_of_either_kind_of_condition_is_returned() -> None:
    values = iter([0, "", 7, 8])

    async def look() -> object:
        return next(values)

    assert await until(look) == 7
    assert await until(lambda: next(values)) == 8
    await until_equal(3, aiter_of(1, 2, 3))
    assert wait_until(iter([[], [1]]).__next__) == [1]


async def test_a_failure_shows_the_last_value() -> None:
    with pytest.raises(AssertionError, match=r"last seen: \[\]"):
        await until(list, 0)
    with pytest.raises(AssertionError, match=r"last seen: \[\]"):
        wait_until(list, 0)
    with pytest.raises(AssertionError, match="2"):
        await until_equal(1, aiter_of(*[2] * 1000), 0.05)


async def test_an_attempt_is_made_again_only_where_this_process_stood_still() -> None:
    attempts = 0

    async def late() -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            time.sleep(0.2)  # noqa: ASYNC251 - it stands still
            raise ConnectionResetError
        return "in time"

    async def wrong() -> None:
        nonlocal attempts
        attempts += 1
        raise ConnectionResetError

    assert await undisturbed(late, 0.2) == "in time"
    assert attempts == 3
    with pytest.raises(ConnectionResetError):
        await undisturbed(wrong, 3600)
    assert attempts == 4


async def test_a_process_that_always_stands_still_fails_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ATTEMPTS", 2)
    failures = iter([AssertionError("one"), AssertionError("two")])

    async def wrong() -> None:
        raise next(failures)

    with pytest.raises(AssertionError, match="in none of 2 attempts"):
        await undisturbed(wrong, 0)


def aiter_of(*values: int) -> Callable[[], Awaitable[int]]:
    """Return a coroutine function that returns one value after the other."""
    left = iter(values)

    async def look() -> int:
        return next(left)

    return look
