"""A message is written with the caller's transaction, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from routing_app.core.address import AddressError
from routing_app.core.models import OutboxMessage
from switchboard import publish_on_commit

pytestmark = pytest.mark.django_db

DEEP: Any = []
for _ in range(600):
    DEEP = [DEEP]


def written() -> list[tuple[str, Any, Any]]:
    return list(OutboxMessage.objects.in_order().values_list("id", "addresses", "message"))


def test_it_is_there_with_the_commit_and_has_an_id() -> None:
    id = publish_on_commit(["token:a", "room:bus/one", "token:a"], {"n": [1, None, "é"]})

    assert written() == [(id, ["token:a", "room:bus/one"], {"n": [1, None, "é"]})]


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_was_never_there() -> None:
    with transaction.atomic():
        publish_on_commit(["token:a"], "x")
        transaction.set_rollback(True)

    assert written() == []


@pytest.mark.django_db(transaction=True)
def test_a_savepoint_takes_its_messages_along() -> None:
    with transaction.atomic():
        publish_on_commit(["token:a"], 1, id="one")
        with transaction.atomic():
            publish_on_commit(["token:a"], 2, id="two")
            transaction.set_rollback(True)
        publish_on_commit(["token:a"], 3, id="three")

    assert [message for _, _, message in written()] == [1, 3]


def test_messages_stand_in_the_order_in_which_they_were_written() -> None:
    for number in range(30):
        publish_on_commit(["token:a"], number)

    assert [message for _, _, message in written()] == list(range(30))


def test_the_same_id_is_the_same_message_and_harms_no_transaction() -> None:
    with transaction.atomic():
        publish_on_commit(["token:a"], "first", id="order 1")
        publish_on_commit(["token:b"], "second", id="order 1")

    assert written() == [("order 1", ["token:a"], "first")]


def test_a_message_to_nobody_is_not_written() -> None:
    publish_on_commit([], "x")

    assert written() == []


@pytest.mark.parametrize(
    ("addresses", "message", "id", "error"),
    [
        ("token:a", "x", None, TypeError),
        (["nowhere"], "x", None, AddressError),
        ([1], "x", None, AddressError),
        (["customer:a/b"], "x", None, AddressError),
        ([f"token:{number}" for number in range(1001)], "x", None, AddressError),
        (["token:a"], object(), None, TypeError),
        (["token:a"], {"price": float("nan")}, None, ValueError),
        (["token:a"], DEEP, None, ValueError),
        (["token:a"], ["\x00"], None, ValueError),
        (["token:a"], "\ud800", None, ValueError),
        (["token:a"], "x", "", ValueError),
        (["token:a"], "x", "a" * 65, ValueError),
        (["token:a"], "x", "a\nb", ValueError),
    ],
    ids=[
        "a string",
        "no address",
        "a number",
        "not public",
        "too many",
        "not JSON",
        "NaN",
        "too deep",
        "NUL",
        "half a pair",
        "empty id",
        "long id",
        "line in an id",
    ],
)
def test_what_cannot_be_published_is_an_error_for_the_caller(
    addresses: Any, message: Any, id: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        publish_on_commit(addresses, message, id)

    assert written() == []
