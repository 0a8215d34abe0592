"""Tokens and users: what becomes of their rows is reported in the same transaction."""

from __future__ import annotations

import pytest
from django.db import transaction

from routing_app.core.models.webhooks import Delivery
from routing_app.events import service as users
from routing_app.events.models import Root
from routing_app.tokens import imports, service
from routing_app.tokens.models import RegisteredToken, Source
from tests.webhook_events.outbox import counted, subscribe, told

pytestmark = pytest.mark.django_db

ALL = RegisteredToken.objects.all()
REGISTERED = ("token.registered", {"token": "se… (9)"})
UNREGISTERED = ("token.unregistered", {"token": "se… (9)"})


@pytest.fixture(autouse=True)
def webhook() -> None:
    subscribe("token.*", "user.registered")


def test_a_token_is_reported_masked_when_it_may_connect_and_when_it_may_no_more() -> None:
    service.register("secret-12", Source.API)
    assert told() == [REGISTERED]
    service.register("secret-12", Source.API)
    assert told() == [REGISTERED]
    service.unregister("secret-12", Source.API)
    assert sorted(told()) == [REGISTERED, UNREGISTERED]
    service.unregister("secret-12", Source.API)
    assert sorted(told()) == [REGISTERED, UNREGISTERED]
    service.register("secret-12", Source.API)
    assert counted() == {"token.registered": 2, "token.unregistered": 1}


def test_a_token_that_is_added_disabled_is_not_registered_until_it_is_enabled() -> None:
    row = service.add("secret-12", Source.ADMIN, enabled=False)
    assert told() == []
    service.change(row, Source.ADMIN, enabled=True, note=None)
    assert told() == [REGISTERED]
    service.change(row, Source.ADMIN, enabled=None, note="seen")
    assert told() == [REGISTERED]
    service.change(row, Source.ADMIN, enabled=False, note=None)
    assert sorted(told()) == [REGISTERED, UNREGISTERED]


def test_a_deleted_token_is_unregistered_if_it_was_registered() -> None:
    service.add("secret-12", Source.ADMIN)
    service.add("other-123", Source.ADMIN, enabled=False)
    service.remove(ALL)
    assert sorted(told()) == [REGISTERED, UNREGISTERED]


def test_many_tokens_are_reported_one_by_one() -> None:
    service.register_many(["a1", "b1", "c1"], Source.API)
    service.disable(RegisteredToken.objects.filter(token="b1"), Source.API)
    assert counted() == {"token.registered": 3, "token.unregistered": 1}
    assert service.register_many(["a1", "b1", "d1"], Source.API).added == 1
    assert counted() == {"token.registered": 5, "token.unregistered": 1}


def test_an_import_reports_what_it_changes() -> None:
    imports.store({"a1": True, "b1": False, "c1": True})
    assert counted() == {"token.registered": 2}
    imports.store({"a1": False, "b1": True, "c1": True})
    assert counted() == {"token.registered": 3, "token.unregistered": 1}


def test_a_row_that_another_process_has_added_is_reported_by_that_process() -> None:
    """Both have found the token missing; the insert of the second one changes nothing."""
    service.add("secret-12", Source.ADMIN)
    with transaction.atomic():
        service.insert([RegisteredToken(token="secret-12", source=Source.API)])
    assert told() == [REGISTERED]


def test_a_user_is_reported_without_the_password() -> None:
    user = users.register("Ann@Example.com", "correct horse battery")
    root = Root.objects.get(user=user).hex_id
    assert told() == [("user.registered", {"id": str(user.pk), "email": "ann@example.com", "root_id": root})]
    assert "horse" not in Delivery.objects.get().body


def test_a_user_that_exists_is_not_reported_again() -> None:
    users.register("ann@example.com", "correct horse battery")
    with pytest.raises(users.AlreadyExists):
        users.register("Ann@example.com", "correct horse battery")
    assert counted() == {"user.registered": 1}


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_reported() -> None:
    with transaction.atomic():
        service.register("secret-12", Source.API)
        users.register("ann@example.com", "correct horse battery")
        assert len(told()) == 2
        transaction.set_rollback(True)
    assert told() == []
