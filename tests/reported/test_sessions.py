"""Sessions: each input that was reported, with its right answer."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import pytest
from django.db import transaction

from sessions_app.commands import Create, Granted, LimitReached
from sessions_app.models import Limit, Publisher
from sessions_app.store import AccountKey, StoreEntry, apply_all
from sessions_app.wire import Wanted
from tests.sessions.operators import let_a_millisecond_begin

KEY = AccountKey("pub", "alice")


@dataclass(frozen=True)
class Scene:
    """Limits, the sessions that start in order (by name), one more, and who ends for it."""

    limits: dict[str, tuple[int, str]]
    held: dict[str, Wanted]
    wanted: Wanted
    victims: tuple[str, ...] | None
    ended: tuple[str, ...]


def on(offer: str, device: str = "", content: str = "") -> Wanted:
    return Wanted(offer_id=offer, device_type=device, content_id=content)


S1_S2_S3 = {name: on(name) for name in ("S1", "S2", "S3")}
EVICT = "evict_oldest"

SCENES = {
    "account 3 and offer 1, sessions on S1, S2, S3, then another on S2": Scene(
        {"account": (3, EVICT), "offer": (1, EVICT)}, S1_S2_S3, on("S2"), None, ("S2",)
    ),
    "account 2 and device type 1, TV A, phone B, then phone C": Scene(
        {"account": (2, EVICT), "device_type": (1, EVICT)},
        {"A": on("film", "tv"), "B": on("film", "phone")},
        on("film", "phone"),
        None,
        ("B",),
    ),
    "three limits that two sessions make room in": Scene(
        {"offer": (2, EVICT), "device_type": (1, EVICT), "content": (1, EVICT)},
        {
            "offer alone": on("film", "tv", "other"),
            "device alone": on("other", "phone", "other"),
            "offer and content": on("film", "tv", "part 1"),
        },
        on("film", "phone", "part 1"),
        None,
        ("device alone", "offer and content"),
    ),
    "a takeover that makes room in both limits": Scene(
        {"account": (3, EVICT), "offer": (1, EVICT)}, S1_S2_S3, on("S2"), ("S2",), ("S2",)
    ),
    "a takeover that is not enough, and one session that counts in the three limits left": Scene(
        {"account": (2, EVICT), "offer": (1, EVICT), "device_type": (1, EVICT)},
        {"oldest": on("S1"), "victim": on("S3", "tv"), "in all": on("S2", "phone")},
        on("S2", "phone"),
        ("victim",),
        ("victim", "in all"),
    ),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("case", SCENES)
def test_no_session_ends_that_need_not(case: str) -> None:
    scene = SCENES[case]
    publisher = Publisher.objects.create(name=KEY.publisher)
    ids = {name: granted(Create(KEY, wanted)).session.id for name, wanted in scene.held.items()}
    for scope, (maximum, policy) in scene.limits.items():
        Limit.objects.create(publisher=publisher, scope=scope, maximum=maximum, policy=policy)

    victims = None if scene.victims is None else tuple(ids[name] for name in scene.victims)
    ended = {listing.id for listing in granted(Create(KEY, scene.wanted, victims)).ended}

    assert {name for name, id in ids.items() if id in ended} == set(scene.ended)


@pytest.mark.django_db(transaction=True)
def test_takeover_is_offered_of_all_sessions_that_count() -> None:
    """One that a limit beside it would have evicted was not in the list; so each of two takeovers that a
    player tried was told of the other session."""
    publisher = Publisher.objects.create(name=KEY.publisher)
    ids = [granted(Create(KEY, on(offer))).session.id for offer in ("film", "film", "series")]
    Limit.objects.create(publisher=publisher, scope="account", maximum=3, policy=EVICT)
    Limit.objects.create(publisher=publisher, scope="offer", maximum=1, policy="ask")

    denied = outcome(Create(KEY, on("film")))

    assert isinstance(denied, LimitReached)
    counted: list[UUID] = [listing.id for listing in denied.counted]
    assert counted == ids[:2]
    assert isinstance(outcome(Create(KEY, on("film"), tuple(counted))), Granted)


def outcome(command: Create) -> object:
    entry = StoreEntry(command)
    with transaction.atomic():
        apply_all([entry])
    let_a_millisecond_begin()
    return entry.outcome


def granted(command: Create) -> Granted:
    answer = outcome(command)
    assert isinstance(answer, Granted)
    return answer
