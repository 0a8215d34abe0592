"""What limits would say now: the answer of a create that is decided, and not done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sessions_app import trial
from sessions_app.commands import Create, Granted, LimitReached
from sessions_app.limits import LimitScope, Policy
from sessions_app.models import Account, EventKind, Limit, Publisher, Session, SessionEvent
from sessions_app.store import AccountKey
from sessions_app.trial import LOOK_BACK, try_create
from sessions_app.wire import Wanted
from tests.sessions.operators import apply, caller, create

pytestmark = pytest.mark.django_db

LIMITS = "/api/publishers/films/limits/"
ALICE, BOB = AccountKey("films", "alice"), AccountKey("films", "bob")

WORDS = st.sampled_from(["", "a", "b"])
WANTED = st.builds(
    Wanted,
    name=st.sampled_from(["TV", "Phone"]),
    offer_id=WORDS,
    tag=st.sampled_from(["live", "b"]),
    content_id=WORDS,
    device_id=st.sampled_from(["", "one", "two"]),
    device_type=WORDS,
)
RULES = st.lists(
    st.builds(
        lambda scope, value, customer, maximum, policy, observe_only: {
            "scope": scope,
            "value": "" if scope is LimitScope.ACCOUNT else value,
            "customer": customer,
            "maximum": maximum,
            "policy": policy,
            "observe_only": observe_only,
        },
        st.sampled_from(LimitScope),
        WORDS,
        st.sampled_from(["", "alice", "bob"]),
        st.integers(0, 3),
        st.sampled_from(Policy),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda rule: (rule["scope"], rule["value"], rule["customer"], rule["observe_only"]),
)


@contextmanager
def forgotten() -> Iterator[None]:
    """A block whose rows are gone afterwards."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def rows() -> list[Any]:
    """All that a create could change."""
    models = (Account, Session, SessionEvent, Limit)
    return [list(model.objects.order_by("pk").values()) for model in models]


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    RULES, st.lists(st.tuples(st.sampled_from([ALICE, ALICE, ALICE, BOB]), WANTED), min_size=1, max_size=8)
)
def test_it_agrees_with_what_a_create_is_answered(
    limits: list[dict[str, Any]], creates: list[tuple[AccountKey, Wanted]]
) -> None:
    with forgotten():
        films = Publisher.objects.create(name="films")
        Limit.objects.bulk_create([Limit(publisher=films, **rule) for rule in limits])
        for key, wanted in creates:
            before = rows()
            found = try_create(films, key.customer, wanted)
            assert rows() == before, "it changes nothing"
            held = set(Session.objects.filter(account__customer=key.customer).values_list("pk", flat=True))

            [outcome] = apply(Create(key, wanted))

            observed = SessionEvent.objects.filter(observed=True).count() - sum(
                row["observed"] for row in before[2]
            )
            if isinstance(outcome, Granted):
                assert found.refused is None
                assert {one.pk for one in found.evicted} == {one.id for one in outcome.ended}
                assert (found.again is not None) == (outcome.session.id in held)
                assert len(found.observed) == observed
                continue
            assert isinstance(outcome, LimitReached)
            assert found.why == outcome.reason
            assert found.take_over is outcome.take_over
            assert [one.pk for one in found.counted] == [one.id for one in outcome.counted]
            assert found.refused is not None
            limit = Limit.objects.get(pk=found.refused)
            assert (limit.maximum, limit.observe_only) == (outcome.maximum, False)


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(RULES, st.lists(st.tuples(st.sampled_from([ALICE, BOB]), WANTED), min_size=1, max_size=8))
def test_a_limit_is_reached_where_one_more_would_be_refused_or_end_another(
    limits: list[dict[str, Any]], creates: list[tuple[AccountKey, Wanted]]
) -> None:
    with forgotten():
        films = Publisher.objects.create(name="films")
        apply(*(Create(key, wanted) for key, wanted in creates))
        Limit.objects.bulk_create([Limit(publisher=films, **rule) for rule in limits])
        expected: set[tuple[str, int, str]] = set()
        for session in Session.objects.select_related("account"):
            customer = session.account.customer
            stream = Wanted(
                offer_id=session.offer_id,
                tag=session.tag,
                content_id=session.content_id,
                device_type=session.device_type,
            )
            pools = try_create(films, customer, stream).pools
            expected |= {(customer, pool.limit, pool.subject) for pool in pools if pool.is_full}

        numbers, full = trial.full_pools(films, 1000)

        assert {(one.customer, one.pool.limit, one.pool.subject) for one in full} == expected
        assert len(full) == len(expected)
        counted = Counter(limit for _, limit, _ in expected)
        assert numbers == {limit.pk: counted[limit.pk] for limit in Limit.objects.all()}


@pytest.fixture
def films() -> Publisher:
    return Publisher.objects.create(name="films")


def test_the_call_says_what_would_end_and_what_observes(films: Publisher) -> None:
    evicts = Limit.objects.create(publisher=films, scope="offer", maximum=1, policy="evict_oldest")
    observes = Limit.objects.create(publisher=films, scope="account", maximum=1, observe_only=True)
    id = create(ALICE, name="TV", offer_id="film")

    answer = caller("read").get(f"{LIMITS}try?customer=alice&offer_id=film&tag=&device_type=tv").json()

    held = {"id": str(id), "name": "TV", "created_at": answer["evicted"][0]["created_at"]}
    assert answer == {
        "publisher": "films",
        "customer": "alice",
        "enabled": True,
        "allowed": True,
        "refused_by": None,
        "why": "",
        "take_over": False,
        "counted": [],
        "evicted": [held],
        "again": None,
        "observed": [observes.pk],
        "limits": [
            {
                "limit": limit.pk,
                "scope": limit.scope,
                "value": "",
                "customer": "",
                "maximum": 1,
                "policy": limit.policy,
                "observe_only": limit.observe_only,
                "subject": subject,
                "held": 1,
                "full": True,
            }
            for limit, subject in ((evicts, "film"), (observes, ""))
        ],
    }


@pytest.mark.parametrize(
    ("query", "field"), [("customer=alice", "offer_id"), ("offer_id=film", "customer"), ("", "customer")]
)
def test_it_says_what_is_missing(films: Publisher, query: str, field: str) -> None:
    refused = caller().get(f"{LIMITS}try?{query}")
    assert (refused.status_code, list(refused.json())) == (400, [field])
    assert caller().get("/api/publishers/nobody/limits/try?customer=a&tag=b").status_code == 404


def test_customers_that_are_refused_most_come_first(films: Publisher) -> None:
    limit = Limit.objects.create(publisher=films, scope="account", maximum=1, policy="block")
    spare = Limit.objects.create(publisher=films, scope="tag", maximum=9)
    for customer, refusals in (("anna", 0), ("bert", 2), ("carl", 1)):
        key = AccountKey("films", customer)
        apply(*[Create(key, Wanted(tag="live"))] * (1 + refusals))
    SessionEvent.objects.filter(account__customer="carl", kind=EventKind.DENIED).update(
        at=SessionEvent.objects.latest("at").at - LOOK_BACK * 2
    )

    answer = caller("read").get(f"{LIMITS}reached").json()

    assert answer["limits"] == [{"limit": limit.pk, "reached": 3}, {"limit": spare.pk, "reached": 0}]
    assert [(row["customer"], row["denied"], row["held"]) for row in answer["customers"]] == [
        ("bert", 2, 1),
        ("anna", 0, 1),
        ("carl", 0, 1),
    ]


def test_totals_name_each_publisher(films: Publisher) -> None:
    Publisher.objects.create(name="sports")
    for key in (ALICE, ALICE, BOB):
        create(key, tag="live")
    create(AccountKey("sports", "alice"), tag="live")
    Publisher.objects.create(name="quiet")

    assert caller("read").get("/api/sessions/totals").json()["publishers"] == [
        {"publisher": "films", "sessions": 3, "customers": 2, "connected": 0},
        {"publisher": "quiet", "sessions": 0, "customers": 0, "connected": 0},
        {"publisher": "sports", "sessions": 1, "customers": 1, "connected": 0},
    ]


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("get", f"{LIMITS}try?customer=alice&tag=live", "view_session"),
        ("get", f"{LIMITS}reached", "view_session"),
        ("get", "/api/sessions/totals", "view_session"),
        ("get", "/api/sessions/download", "view_session"),
        ("get", "/api/sessions/history/download", "view_sessionevent"),
        ("get", "/api/sessions/usage/download?from=2020-01-01", "view_sessionevent"),
        ("post", "/api/sessions/end", "change_session"),
    ],
)
def test_staff_needs_the_permission(films: Publisher, method: str, path: str, permission: str) -> None:
    user = User.objects.create(username="anna", is_staff=True)
    every = Permission.objects.filter(content_type__app_label="sessions_app")
    user.user_permissions.set(every.exclude(codename=permission))
    client = Client()
    client.force_login(user)
    body: dict[str, Any] = {"data": "{}", "content_type": "application/json"} if method == "post" else {}

    assert getattr(client, method)(path, **body).status_code == 403
    user.user_permissions.set(every.filter(codename=permission))
    assert getattr(client, method)(path, **body).status_code != 403
