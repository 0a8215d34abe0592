"""The breaker of a hook, by counts and a clock of the tests."""

from __future__ import annotations

import pytest

from routing_app.core.hooks.breaker import ALONE_SECONDS, FAILURES, Attempt, Breaker

pytestmark = pytest.mark.once


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def fail(breaker: Breaker, times: int) -> list[bool]:
    """Whether each of so many failures has opened it."""
    attempts = [breaker.attempt() for _ in range(times)]
    return [breaker.failed(attempt) for attempt in attempts if attempt is not None]


def test_ten_failures_in_a_row_open_it(breaker: Breaker):
    assert fail(breaker, FAILURES - 1) == [False] * (FAILURES - 1)
    assert breaker.attempt() is Attempt.USUAL
    assert fail(breaker, 1) == [True]
    assert breaker.attempt() is None


def test_an_answer_in_between_begins_the_count_again(breaker: Breaker):
    fail(breaker, FAILURES - 1)
    assert not breaker.succeeded()
    fail(breaker, FAILURES - 1)
    assert breaker.attempt() is Attempt.USUAL


def test_after_five_seconds_one_question_tries_it(breaker: Breaker, clock: Clock):
    fail(breaker, FAILURES)
    clock.now = ALONE_SECONDS - 0.5
    assert breaker.attempt() is None
    clock.now = ALONE_SECONDS
    assert [breaker.attempt(), breaker.attempt()] == [Attempt.TRIAL, None]
    assert breaker.succeeded()
    assert [breaker.attempt(), breaker.attempt()] == [Attempt.USUAL] * 2


def test_a_trial_that_fails_leaves_it_alone_for_as_long_again(breaker: Breaker, clock: Clock):
    fail(breaker, FAILURES)
    clock.now = ALONE_SECONDS
    assert breaker.attempt() is Attempt.TRIAL
    assert not breaker.failed(Attempt.TRIAL)
    clock.now += ALONE_SECONDS - 0.5
    assert breaker.attempt() is None
    clock.now += 0.5
    assert breaker.attempt() is Attempt.TRIAL


def test_a_trial_that_nobody_waits_for_lets_another_through(breaker: Breaker, clock: Clock):
    fail(breaker, FAILURES)
    clock.now = ALONE_SECONDS
    breaker.attempt()
    breaker.gave_up(Attempt.TRIAL)
    assert breaker.attempt() is Attempt.TRIAL


def test_failures_of_questions_from_before_do_not_end_a_trial(breaker: Breaker, clock: Clock):
    fail(breaker, FAILURES)
    clock.now = ALONE_SECONDS
    breaker.attempt()
    assert not breaker.failed(Attempt.USUAL)
    assert breaker.attempt() is None
    assert breaker.succeeded()
    # The trial's own failure, after another question was answered, is the first of a new row.
    assert not breaker.failed(Attempt.TRIAL)
    assert breaker.attempt() is Attempt.USUAL
