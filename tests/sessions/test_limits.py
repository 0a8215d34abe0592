"""Limits: those that apply, and the streams that they let in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions_app.limits import FIELD, LimitRule, LimitScope, Policy, applicable, decide, takeover_allowed
from sessions_app.wire import Wanted

pytestmark = pytest.mark.once


@dataclass(frozen=True)
class Held:
    """A session that plays."""

    number: int
    offer_id: str = ""
    tag: str = ""
    content_id: str = ""
    device_type: str = ""


def rule(scope: LimitScope, maximum: int, **more: object) -> LimitRule:
    return LimitRule(scope, **{"value": "", "maximum": maximum, "policy": Policy.BLOCK, **more})  # type: ignore[arg-type]


FILM = Wanted(offer_id="film")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([rule(LimitScope.OFFER, 1), rule(LimitScope.OFFER, 2, value="film")], 2),
        ([rule(LimitScope.OFFER, 2, value="film"), rule(LimitScope.OFFER, 3, customer="alice")], 3),
        (
            [
                rule(LimitScope.OFFER, 3, customer="alice"),
                rule(LimitScope.OFFER, 4, customer="alice", value="film"),
            ],
            4,
        ),
        (
            [
                rule(LimitScope.OFFER, 1),
                rule(LimitScope.OFFER, 9, customer="bob"),
                rule(LimitScope.OFFER, 9, value="other"),
            ],
            1,
        ),
    ],
)
def test_most_specific_limit_of_a_scope_applies(rules: list[LimitRule], expected: int) -> None:
    for order in (rules, rules[::-1]):
        [applied] = applicable(order, FILM, "alice")
        assert applied.maximum == expected


def test_scopes_that_do_not_concern_a_stream_do_not_apply() -> None:
    rules = [rule(scope, 0) for scope in (LimitScope.TAG, LimitScope.CONTENT, LimitScope.DEVICE_TYPE)]

    assert decide(rules, FILM, "alice", []).full is None


def test_maximum_of_none_lets_nobody_in_under_any_policy() -> None:
    for policy in Policy:
        nobody: list[Held] = []
        decision = decide([rule(LimitScope.ACCOUNT, 0, policy=policy)], FILM, "alice", nobody)
        assert decision.full is not None
        assert decision.evicted == ()


def test_nobody_is_evicted_for_a_stream_that_is_refused() -> None:
    rules = [rule(LimitScope.ACCOUNT, 2, policy=Policy.EVICT_OLDEST), rule(LimitScope.OFFER, 1)]
    held = [Held(1, "series"), Held(2, "film")]

    decision = decide(rules, FILM, "alice", held)

    assert str(decision.full) == "limit of 1 for offer film"
    assert decision.evicted == ()


def test_eviction_for_one_limit_makes_room_in_another() -> None:
    rules = [rule(LimitScope.ACCOUNT, 2, policy=Policy.EVICT_OLDEST), rule(LimitScope.OFFER, 1)]
    held = [Held(1, "film"), Held(2, "series")]

    assert decide(rules, FILM, "alice", held).evicted == (held[0],)


EVICT = {"policy": Policy.EVICT_OLDEST}


def test_all_sessions_that_count_are_named_when_nobody_is_evicted_after_all() -> None:
    """Or a player would take one over, and then be told of the other."""
    rules = [rule(LimitScope.ACCOUNT, 3, **EVICT), rule(LimitScope.OFFER, 1, policy=Policy.ASK)]
    held = [Held(1, "film"), Held(2, "film"), Held(3, "series")]

    decision = decide(rules, FILM, "alice", held)

    assert decision.full is not None
    assert decision.full.counted == (held[0], held[1])


@pytest.mark.parametrize("scopes", [2, 3, 4, 5])
def test_thousands_are_evicted_without_a_search(scopes: int) -> None:
    """Limits of thousands that were lowered to 1, all at once: any search would not come back."""
    values = ("x", "y")
    held = [Held(number, *(values[number >> bit & 1] for bit in range(4))) for number in range(16_000)]
    rules = [rule(scope, 1, **EVICT) for scope in list(LimitScope)[:scopes]]

    decision = decide(rules, Held(-1, "x", "x", "x", "x"), "alice", held)

    assert len(decision.evicted) == 16_000
    limits = [rule(scope, 7_000, **EVICT) for scope in list(LimitScope)[1:scopes]]
    evicted = decide(limits, Held(-1, "x", "x", "x", "x"), "alice", held).evicted
    assert len(evicted) == {2: 1_001, 3: 1_001, 4: 1_001, 5: 1_002}[scopes]


@pytest.mark.parametrize(
    ("policies", "allowed"),
    [([], True), (["block"], False), (["ask", "block"], True), (["evict_oldest"], True)],
)
def test_takeover_is_off_where_every_limit_blocks(policies: list[str], allowed: bool) -> None:
    scopes = (LimitScope.ACCOUNT, LimitScope.OFFER)
    rules = [rule(scope, 1, policy=Policy(policy)) for scope, policy in zip(scopes, policies, strict=False)]

    assert takeover_allowed(rules, FILM, "alice") is allowed


SUBJECTS = st.sampled_from(["", "a", "b"])
RULES = st.lists(
    st.builds(
        LimitRule,
        scope=st.sampled_from(LimitScope),
        value=st.just(""),
        maximum=st.integers(0, 4),
        policy=st.sampled_from(Policy),
        observe_only=st.booleans(),
    ),
    unique_by=lambda rule: (rule.scope, rule.observe_only),
)


@given(
    RULES,
    st.lists(st.tuples(SUBJECTS, SUBJECTS, SUBJECTS, SUBJECTS), max_size=8),
    st.tuples(SUBJECTS, SUBJECTS, SUBJECTS, SUBJECTS),
)
def test_granted_streams_leave_no_enforced_limit_passed(
    rules: list[LimitRule], streams: list[tuple[str, ...]], wish: tuple[str, ...]
) -> None:
    held = [Held(number, *stream) for number, stream in enumerate(streams)]
    wanted = Held(99, *wish)

    decision = decide(rules, wanted, "alice", held)

    kept = [stream for stream in held if stream not in decision.evicted]
    counts = {}
    for one in rules:
        field = FIELD.get(one.scope)
        mine = getattr(wanted, field) if field else "account"
        if mine and not one.observe_only:
            same = [stream for stream in kept if not field or getattr(stream, field) == mine]
            counts[one] = len(same)
    if decision.full is None:
        assert all(count < one.maximum for one, count in counts.items())
    else:
        assert counts[decision.full.rule] >= decision.full.rule.maximum
        assert decision.evicted == ()


def makes_room(rules: Sequence[LimitRule], wanted: Held, kept: Sequence[Held]) -> bool:
    for one in rules:
        field = FIELD.get(one.scope)
        mine = getattr(wanted, field) if field else "account"
        if mine and sum(not field or getattr(stream, field) == mine for stream in kept) >= one.maximum:
            return False
    return True


@given(
    RULES,
    st.lists(st.tuples(SUBJECTS, SUBJECTS, SUBJECTS, SUBJECTS), max_size=9),
    st.tuples(SUBJECTS, SUBJECTS, SUBJECTS, SUBJECTS),
)
def test_fewest_end_and_the_oldest_of_these(
    rules: list[LimitRule], streams: list[tuple[str, ...]], wish: tuple[str, ...]
) -> None:
    """Against every choice there is: by size, and within a size by age."""
    held = [Held(number, *stream) for number, stream in enumerate(streams)]
    wanted = Held(99, *wish)
    enforced = [one for one in rules if not one.observe_only]
    evicting = [one for one in enforced if one.policy is Policy.EVICT_OLDEST]
    expected = None
    for size in range(len(held) + 1):
        for choice in combinations(held, size):
            if expected is None and makes_room(evicting, wanted, [one for one in held if one not in choice]):
                expected = choice

    decision = decide(rules, wanted, "alice", held)

    if expected is None or not makes_room(enforced, wanted, [one for one in held if one not in expected]):
        assert decision.full is not None
        assert decision.evicted == ()
    else:
        assert decision.full is None
        assert decision.evicted == expected
