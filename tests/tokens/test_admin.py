"""The admin of registered tokens, as an operator's browser uses it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client

from routing_app.tokens import service
from routing_app.tokens.models import RegisteredToken, Source

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/tokens/registeredtoken/"
SECRET = "secret-token-of-a-client"


@pytest.fixture
def operator() -> Client:
    """Somebody who may do everything; logged in without a password, whose hash would cost half a second."""
    client = Client()
    client.force_login(User.objects.create(username="anna", is_staff=True, is_superuser=True))
    return client


def select(operator: Client, action: str, *tokens: str, **fields: str) -> str:
    """Run an action on the rows of some tokens; the page that follows."""
    rows = [row.pk for row in RegisteredToken.objects.filter(token__in=tokens)]
    data = {"action": action, "_selected_action": rows, **fields}
    reply = operator.post(LIST, data, follow=True)
    assert reply.status_code == 200
    return reply.content.decode()


def states() -> dict[str, tuple[bool, str]]:
    return {row.token: (row.enabled, row.disabled_by) for row in RegisteredToken.objects.all()}


@pytest.fixture
def told_to_go(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(address, code) of everything that is disconnected."""
    told: list[tuple[str, int]] = []

    def disconnect_all(addresses: Any, close: Any) -> None:
        assert not connection.in_atomic_block, "nobody is told before the commit"
        told.extend((address, close.code) for address in addresses)

    monkeypatch.setattr(service, "disconnect_all_sync", disconnect_all)
    return told


def test_add_one(operator: Client) -> None:
    reply = operator.post(f"{LIST}add/", {"token": f" {SECRET} ", "enabled": "on", "note": "n"}, follow=True)

    row = RegisteredToken.objects.get()
    assert (row.token, row.enabled, row.note, row.source) == (SECRET, True, "n", Source.ADMIN)
    assert SECRET not in "".join(map(str, reply.context["messages"]))
    assert SECRET not in LogEntry.objects.get().object_repr


def test_add_one_disabled(operator: Client) -> None:
    operator.post(f"{LIST}add/", {"token": "abc1", "note": ""})

    assert states() == {"abc1": (False, "admin")}


@pytest.mark.parametrize("token", ["", "a,b", "a|b", "unregistered", "a" * 256])
def test_impossible_token_is_told_in_the_form(operator: Client, token: str) -> None:
    reply = operator.post(f"{LIST}add/", {"token": token, "enabled": "on"})

    assert reply.status_code == 200
    assert "errorlist" in reply.content.decode()
    assert not RegisteredToken.objects.exists()


def test_known_token_is_told_in_the_form(operator: Client) -> None:
    service.add("abc1", Source.API)

    reply = operator.post(f"{LIST}add/", {"token": " abc1 ", "enabled": "on"})

    assert "errorlist" in reply.content.decode()
    assert RegisteredToken.objects.count() == 1


def test_decision_34_list_and_page_show_it_to_an_operator_with_the_right_to_change_it(
    operator: Client,
) -> None:
    row = service.add(SECRET, Source.API)

    assert SECRET in operator.get(LIST).content.decode()
    assert SECRET in operator.get(f"{LIST}{row.pk}/change/").content.decode()


def test_change_enables_and_notes_and_never_renames(operator: Client) -> None:
    row = service.add("abc1", Source.API)
    page = f"{LIST}{row.pk}/change/"

    operator.post(page, {"token": "other", "note": "n"})
    assert states() == {"abc1": (False, "admin")}

    operator.post(page, {"note": "m", "enabled": "on"})
    assert states() == {"abc1": (True, "")}
    row.refresh_from_db()
    assert (row.note, row.source) == ("m", "api")


def test_search_and_filter(operator: Client) -> None:
    service.add("abc1", Source.API, note="first")
    service.add("xyz", Source.IMPORT, enabled=False)

    def found(query: str) -> set[str]:
        return {row.token for row in operator.get(LIST + query).context["cl"].queryset}

    assert found("") == {"abc1", "xyz"}
    assert found("?q=abc") == {"abc1"}
    assert found("?q=first") == {"abc1"}
    assert found("?enabled__exact=0") == {"xyz"}
    assert found("?source__exact=import") == {"xyz"}


def test_bulk_enable_disable_remove(operator: Client) -> None:
    for token in ("a", "b", "c"):
        service.add(token, Source.API)

    assert "2 tokens disabled" in select(operator, "disable", "a", "b")
    assert states() == {"a": (False, "admin"), "b": (False, "admin"), "c": (True, "")}
    assert "1 tokens enabled" in select(operator, "enable", "b", "c")
    assert states() == {"a": (False, "admin"), "b": (True, ""), "c": (True, "")}
    assert "b… (1)" in select(operator, "delete_selected", "b", "c")
    select(operator, "delete_selected", "b", "c", post="yes")
    assert states() == {"a": (False, "admin")}


def test_bulk_actions_reach_all_pages(operator: Client) -> None:
    service.register_many((f"token{number}" for number in range(1500)), Source.API)

    page = select(operator, "disable", "token1", select_across="1")

    assert "1500 tokens disabled" in page
    assert not RegisteredToken.objects.filter(enabled=True).exists()


@pytest.mark.parametrize("gate_open", [True, False])
def test_decision_23_admin_revokes_where_only_registered_tokens_may_connect(
    operator: Client, settings: Any, told_to_go: list[tuple[str, int]], gate_open: bool
) -> None:
    settings.TOKENS_ALLOW_UNREGISTERED = gate_open
    for token in ("a", "b", "c", "d/"):
        service.add(token, Source.API)

    select(operator, "disable", "a")
    operator.post(f"{LIST}{RegisteredToken.objects.get(token='b').pk}/change/", {"note": ""})
    operator.post(f"{LIST}{RegisteredToken.objects.get(token='c').pk}/delete/", {"post": "yes"})
    select(operator, "delete_selected", "d/", post="yes")

    revoked = [(address, 4403) for address in ("token:a", "token:b", "token:c", "token-itself:d/")]
    assert told_to_go == ([] if gate_open else revoked)


def test_disconnect_tells_the_clients_of_the_selected_tokens_to_go(
    operator: Client, told_to_go: list[tuple[str, int]]
) -> None:
    for token in ("a", "group/", "other"):
        service.add(token, Source.API)

    assert "Clients of 2 tokens are being disconnected" in select(operator, "disconnect", "a", "group/")

    assert told_to_go == [("token:a", 4003), ("token-itself:group/", 4003)]
    assert all(enabled for enabled, _ in states().values())


def test_paste_a_list(operator: Client) -> None:
    service.add("old", Source.API)
    service.add("off", Source.API, enabled=False)
    page = f"{LIST}add-many/"
    assert f'href="{page}"' in operator.get(LIST).content.decode()
    pasted = (
        f"abc1\r\n{SECRET}, group/item1 ,,\n\nold,off\nabc1\nunregistered\n{SECRET}|{SECRET}\n{'x' * 256}"
    )

    reply = operator.post(page, {"tokens": pasted, "note": "pasted"}).content.decode()

    assert "3 added, 1 enabled again, 1 there already, 3 refused" in reply
    assert "entry 7, un… (12): unregistered stands for clients without a token" in reply
    assert f"entry 8, se… ({2 * len(SECRET) + 1}): a token holds no comma and no |" in reply
    assert "entry 9, xx… (256): a token has at most 255 characters" in reply
    assert SECRET not in reply
    assert states() == dict.fromkeys(["abc1", "group/item1", "off", "old", SECRET], (True, ""))
    assert RegisteredToken.objects.get(token="abc1").note == "pasted"


def test_many_thousand_tokens_at_once(operator: Client) -> None:
    pasted = "\n".join(f"token{number}" for number in range(5_000))

    reply = operator.post(f"{LIST}add-many/", {"tokens": pasted}).content.decode()

    assert "5000 added, 0 enabled again, 0 there already, 0 refused" in reply
    assert RegisteredToken.objects.count() == 5_000


def test_permissions_are_those_of_django(client: Client) -> None:
    viewer = User.objects.create(username="vera", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_registeredtoken"))
    client.force_login(viewer)
    service.add("abc1", Source.API)

    assert client.get(LIST).status_code == 200
    assert client.get(f"{LIST}add-many/").status_code == 403
    assert client.post(f"{LIST}add-many/", {"tokens": "x"}).status_code == 403
    select(client, "disable", "abc1")
    assert states() == {"abc1": (True, "")}
