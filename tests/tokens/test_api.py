"""`/api/tokens/`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from routing_app.core.access import keys
from routing_app.tokens import service
from routing_app.tokens.models import RegisteredToken, Source

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/api/tokens/"


@pytest.fixture
def api() -> Client:
    """A caller whose key may do everything."""
    _, key = keys.issue("all")
    return Client(headers={"X-API-Key": key})


def send(client: Client, verb: str, path: str, **body: Any) -> Any:
    return getattr(client, verb)(path, body, content_type="application/json")


def row(token: str = "abc1", **state: Any) -> RegisteredToken:
    return service.add(token, state.pop("by", Source.ADMIN), **state)


def test_create_read_change_delete(api: Client) -> None:
    created = send(api, "post", LIST, token=" abc1 ", note="first")
    assert created.status_code == 201
    one = created.json()
    assert one == {
        **one,
        "token": "abc1",
        "enabled": True,
        "disabled_by": "",
        "note": "first",
        "source": "api",
    }
    path = f"{LIST}{one['id']}/"
    assert api.get(path).json() == one

    changed = send(api, "patch", path, enabled=False).json()
    assert changed == {**one, "enabled": False, "disabled_by": "api", "changed_at": changed["changed_at"]}
    # As times: a whole second is written without a fraction, and "Z" sorts behind ".".
    assert datetime.fromisoformat(changed["changed_at"]) > datetime.fromisoformat(one["changed_at"])

    replaced = send(api, "put", path, token="abc1", enabled=True, note="").json()
    assert replaced == {**one, "note": "", "changed_at": replaced["changed_at"]}

    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert not RegisteredToken.objects.exists()


@pytest.mark.parametrize(
    "token",
    ["", " ", "a,b", "a|b", "a\x00b", "a\nb", "a" * 256, "unregistered", "unregstered", None, 5, ["a"], {}],
)
def test_impossible_token_is_a_400_that_names_the_field(api: Client, token: Any) -> None:
    reply = send(api, "post", LIST, token=token)

    assert reply.status_code == 400
    assert list(reply.json()) == ["token"]


def test_missing_and_known_token_are_400(api: Client) -> None:
    row("abc1")

    assert send(api, "post", LIST).json() == {"token": ["This field is required."]}
    for token in ("abc1", " abc1 "):
        reply = send(api, "post", LIST, token=token)
        assert (reply.status_code, list(reply.json())) == (400, ["token"])


def test_token_cannot_become_another(api: Client) -> None:
    path = f"{LIST}{row('abc1').pk}/"

    reply = send(api, "patch", path, token="abc2")

    assert (reply.status_code, list(reply.json())) == (400, ["token"])
    assert send(api, "patch", path, token="abc1", note="same").status_code == 200
    assert RegisteredToken.objects.get().token == "abc1"


def test_facts_cannot_be_written(api: Client) -> None:
    one = send(api, "post", LIST, token="abc1", source="import", disabled_by="import", id=77).json()

    assert (one["source"], one["disabled_by"]) == ("api", "")
    assert one["id"] != 77


def test_created_disabled(api: Client) -> None:
    one = send(api, "post", LIST, token="abc1", enabled=False).json()

    assert (one["enabled"], one["disabled_by"]) == (False, "api")


def test_list_is_searched_narrowed_and_paged(api: Client) -> None:
    for number in range(5):
        row(f"group/{number}", note="odd" if number % 2 else "even")
    row("abc", enabled=False, by=Source.API, note="group")

    def tokens(query: str) -> list[str]:
        return [one["token"] for one in api.get(LIST + query).json()["results"]]

    assert tokens("") == ["abc", *(f"group/{number}" for number in range(5))]
    assert tokens("?search=odd") == ["group/1", "group/3"]
    assert tokens("?search=group/4") == ["group/4"]
    assert tokens("?search=GROUP&enabled=false") == ["abc"]
    assert tokens("?enabled=true&source=admin&search=even") == ["group/0", "group/2", "group/4"]
    assert tokens("?source=import") == []
    first = api.get(f"{LIST}?page_size=4").json()
    assert (first["count"], len(first["results"])) == (6, 4)
    assert [one["token"] for one in api.get(first["next"]).json()["results"]] == ["group/3", "group/4"]


@pytest.mark.parametrize("query", ["?enabled=perhaps", "?source=nowhere"])
def test_wrong_filter_is_a_400(api: Client, query: str) -> None:
    assert api.get(LIST + query).status_code == 400


@pytest.mark.parametrize("id", ["0", "9" * 30, "-1", "x"])
def test_unknown_id_is_a_404(api: Client, id: str) -> None:
    assert api.get(f"{LIST}{id}/").status_code == 404


def test_scopes() -> None:
    one = row("abc1")
    by_scope = {
        scope: Client(headers={"X-API-Key": keys.issue(scope, [scope])[1]}) for scope in ("read", "manage")
    }
    path = f"{LIST}{one.pk}/"

    assert [by_scope[scope].get(LIST).status_code for scope in ("read", "manage")] == [200, 403]
    assert send(by_scope["read"], "post", LIST, token="x").status_code == 403
    assert send(by_scope["manage"], "patch", path, note="x").status_code == 200
    assert by_scope["read"].delete(path).status_code == 403
    assert Client().get(LIST).status_code == 401
    assert Client(headers={"X-API-Key": "wrong"}).get(LIST).status_code == 401


def test_staff_session_needs_csrf_to_change_anything() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("anna"))

    assert client.get(LIST).status_code == 200
    assert send(client, "post", LIST, token="abc1").status_code == 403


@pytest.mark.once
def test_schema_is_valid_and_complete(tmp_path: Path) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", file=str(tmp_path / "schema.yml"))


def test_schema_describes_it(api: Client) -> None:
    schema = api.get("/api/schema?format=json").json()

    assert set(schema["paths"][LIST]) >= {"get", "post"}
    assert set(schema["paths"][LIST + "{id}/"]) >= {"get", "put", "patch", "delete"}
    parameters = {parameter["name"] for parameter in schema["paths"][LIST]["get"]["parameters"]}
    assert parameters == {"enabled", "source", "search", "page", "page_size"}


def test_a_path_without_its_last_slash_is_the_same(api: Client) -> None:
    created = send(api, "post", LIST.rstrip("/"), token="abc1")

    assert created.status_code == 201
    path = f"{LIST}{created.json()['id']}"
    assert send(api, "patch", path, note="new").json()["note"] == "new"
    assert api.get(path).json() == api.get(f"{path}/").json()
