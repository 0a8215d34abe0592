"""`/api/webhooks/` and `/api/deliveries/`, and the same in the admin."""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from routing_app.core.access import keys
from routing_app.core.models import AuditEntry, Delivery, DeliveryStatus, Scope, Webhook
from routing_app.core.webhooks.known import webhooks
from tests.webhooks.conftest import make, write

pytestmark = pytest.mark.django_db(transaction=True)

PUBLIC = "93.184.216.34"
BODY: dict[str, Any] = {
    "name": "shop",
    "url": "https://shop.example/events?a=b",
    "events": ["session.*", "token.registered"],
    "addresses": ["room:bus/*"],
    "headers": {"Authorization": "Bearer 17"},
}


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """All names are of one public address, but those of `.private`."""

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", ("10.0.0.7" if host.endswith(".private") else PUBLIC, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def api() -> Client:
    """A caller whose key has the scope admin alone."""
    return Client(headers={"X-API-Key": keys.issue("admin", [Scope.ADMIN])[1]})


def send(api: Client, method: str, path: str, **body: Any) -> Any:
    return getattr(api, method)(path, json.dumps(body), content_type="application/json")


def test_a_webhook_is_made_and_its_secret_shown_once(api: Client):
    answer = send(api, "post", "/api/webhooks/", **BODY)
    made = answer.json()
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    row = Webhook.objects.get()
    assert made.pop("secret") == row.secret
    assert row.secret.startswith("whsec_")
    created = made.pop("created_at")
    assert made == {**BODY, "id": row.pk, "enabled": True, "failing_since": None, "off_because": ""}

    shown = api.get(f"/api/webhooks/{row.pk}/").json()
    assert shown == {**made, "created_at": created}
    assert row.secret not in api.get("/api/webhooks").content.decode()
    assert [one.id for one in webhooks.all] == [row.pk]


def test_a_change_holds_here_at_once(api: Client):
    pk = send(api, "post", "/api/webhooks/", **BODY).json()["id"]
    send(api, "patch", f"/api/webhooks/{pk}/", enabled=False)
    assert list(webhooks.all) == []
    changed = send(api, "put", f"/api/webhooks/{pk}", **{**BODY, "events": ["*"], "enabled": True}).json()
    assert (changed["events"], changed["enabled"]) == (["*"], True)
    assert webhooks.any_wants("user.registered")
    assert api.delete(f"/api/webhooks/{pk}").status_code == 204
    assert list(webhooks.all) == []


def test_what_was_switched_off_is_switched_on_again_without_its_past(api: Client):
    row = make("https://shop.example/", enabled=False, off_because="x", failing_since=timezone.now())
    secret = row.secret
    untouched = send(api, "patch", f"/api/webhooks/{row.pk}/", name="new").json()
    assert (untouched["off_because"], untouched["enabled"]) == ("x", False)
    on = send(api, "patch", f"/api/webhooks/{row.pk}/", enabled=True).json()
    assert (on["enabled"], on["off_because"], on["failing_since"]) == (True, "", None)
    row.refresh_from_db()
    assert row.secret == secret


def test_to_save_what_is_on_forgets_no_failure(api: Client):
    since = timezone.now()
    row = make("https://shop.example/", failing_since=since)
    body = {"name": "other", "url": row.url, "events": row.events, "enabled": True}
    for method in ("patch", "put"):
        saved = send(api, method, f"/api/webhooks/{row.pk}/", **body).json()
        assert (saved["name"], saved["enabled"]) == ("other", True)
        assert saved["failing_since"] is not None
    row.refresh_from_db()
    assert row.failing_since == since


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "https://10.1.2.3.private/"),
        ("url", "https://user:pass@shop.example/"),
        ("url", "ftp://shop.example/"),
        ("events", []),
        ("events", ["session"]),
        ("events", ["session.made"]),
        ("events", ["sess*"]),
        ("events", ["webhook.test"]),
        ("events", "session.*"),
        ("addresses", ["nothing"]),
        ("headers", {"Webhook-Id": "x"}),
        ("headers", {"X": 7}),
        ("headers", {"X": "a\r\nb"}),
        ("headers", []),
        ("enabled", "perhaps"),
        ("name", ""),
    ],
)
def test_bad_fields_are_refused_by_name(api: Client, field: str, value: Any):
    answer = send(api, "post", "/api/webhooks/", **{**BODY, field: value})
    assert (answer.status_code, list(answer.json())) == (400, [field])
    pk = send(api, "post", "/api/webhooks/", **BODY).json()["id"]
    answer = send(api, "patch", f"/api/webhooks/{pk}/", **{field: value})
    assert (answer.status_code, list(answer.json())) == (400, [field])
    assert Webhook.objects.count() == 1


@pytest.mark.parametrize("event", ["message.published", "message.*"])
def test_messages_need_addresses(api: Client, event: str):
    answer = send(api, "post", "/api/webhooks/", **{**BODY, "events": [event], "addresses": []})
    assert (answer.status_code, list(answer.json())) == (400, ["addresses"])
    assert send(api, "post", "/api/webhooks/", **{**BODY, "events": [event]}).status_code == 201


def test_webhooks_private_allows_private_addresses(api: Client, settings: Any):
    body = {**BODY, "url": "http://shop.private:8000/"}
    answer = send(api, "post", "/api/webhooks/", **body)
    assert "WEBHOOKS_PRIVATE=yes" in answer.json()["url"][0]
    settings.WEBHOOKS_PRIVATE = True
    assert send(api, "post", "/api/webhooks/", **body).status_code == 201


def test_a_test_is_a_delivery_of_its_own_type(api: Client):
    row = make("https://shop.example/", events=["user.registered"])
    answer = send(api, "post", f"/api/webhooks/{row.pk}/test")
    made = answer.json()
    assert answer.status_code == 202
    assert list(made) == [
        *("id", "webhook", "type", "status", "attempts", "next_at", "last_status", "last_error", "created_at")
    ]
    assert (made["webhook"], made["type"], made["status"]) == (row.pk, "webhook.test", "pending")
    body = json.loads(Delivery.objects.get().body)
    assert (body["type"], body["data"]) == ("webhook.test", {"webhook": row.pk})

    Webhook.objects.update(enabled=False)
    refused = send(api, "post", f"/api/webhooks/{row.pk}/test")
    assert (refused.status_code, refused.json()) == (400, {"enabled": ["The webhook is off."]})


def test_a_rotation_answers_the_new_secret(api: Client):
    row = make("https://shop.example/")
    answer = send(api, "post", f"/api/webhooks/{row.pk}/rotate")
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    old = row.secret
    row.refresh_from_db()
    assert answer.json() == {"secret": row.secret}
    assert (row.old_secret, row.secret != old, row.rotated_at is None) == (old, True, False)


def test_deliveries_are_listed_by_status_and_page(api: Client):
    row, other = make("https://shop.example/"), make("https://other.example/")
    pending = write(row, 3)
    write(other)
    (failed,) = write(row, status=DeliveryStatus.FAILED, next_at=None, attempts=8, last_status=500)
    path = f"/api/webhooks/{row.pk}/deliveries"

    page = api.get(path, {"page_size": 3}).json()
    assert (page["count"], len(page["results"])) == (4, 3)
    assert {one["id"] for one in api.get(path, {"status": "pending"}).json()["results"]} == set(pending)
    (shown,) = api.get(path, {"status": "failed"}).json()["results"]
    assert (shown["id"], shown["attempts"], shown["last_status"], shown["next_at"]) == (failed, 8, 500, None)
    assert api.get(path, {"status": "done"}).json()["results"] == []
    assert api.get(path, {"status": "lost"}).status_code == 400
    assert api.get(f"/api/deliveries/{failed}").json() == shown


def test_deliveries_of_one_moment_are_listed_the_newest_first(api: Client):
    row = make("https://shop.example/")
    ids = write(row, 20)
    Delivery.objects.update(created_at=timezone.now())
    Delivery.objects.filter(pk__in=ids[3:8]).update(attempts=1, last_status=500)
    Delivery.objects.filter(pk=ids[7]).update(last_status=503)

    listed = api.get(f"/api/webhooks/{row.pk}/deliveries").json()["results"]
    (state,) = api.get("/api/webhooks/states").json()["webhooks"]

    assert [one["id"] for one in listed] == ids[::-1]
    assert state["last_status"] == 503


def test_a_replay_is_pending_again(api: Client):
    row = make("https://shop.example/")
    (failed,) = write(row, status=DeliveryStatus.FAILED, next_at=None, attempts=8, ended_at=timezone.now())
    answer = send(api, "post", f"/api/deliveries/{failed}/replay")
    assert answer.status_code == 202
    assert (answer.json()["id"], answer.json()["status"], answer.json()["attempts"]) == (failed, "pending", 0)
    assert Delivery.objects.get().ended_at is None
    assert send(api, "post", "/api/deliveries/msg_0/replay").status_code == 404


def test_all_that_failed_begins_again_and_nothing_else(api: Client):
    row, other = make("https://shop.example/"), make("https://other.example/")
    gone: dict[str, Any] = {"status": DeliveryStatus.FAILED, "next_at": None, "ended_at": timezone.now()}
    failed = write(row, 3, attempts=8, **gone)
    (spared,) = write(other, attempts=8, **gone)
    (done,) = write(row, **{**gone, "status": DeliveryStatus.DONE, "attempts": 1})

    answer = send(api, "post", f"/api/webhooks/{row.pk}/replay")

    assert (answer.status_code, answer.json()) == (202, {"replayed": 3})
    waiting = Delivery.objects.filter(status=DeliveryStatus.PENDING, attempts=0, ended_at=None)
    assert set(waiting.values_list("pk", flat=True)) == set(failed)
    assert Delivery.objects.get(pk=spared).status == DeliveryStatus.FAILED
    assert Delivery.objects.get(pk=done).status == DeliveryStatus.DONE
    assert send(api, "post", f"/api/webhooks/{row.pk}/replay").json() == {"replayed": 0}


def test_states_count_deliveries_and_name_the_last_answer(api: Client):
    row, quiet = make("https://shop.example/"), make("https://quiet.example/", name="quiet")
    ended: dict[str, Any] = {"next_at": None, "ended_at": timezone.now()}
    hour = timedelta(hours=1)
    write(row, 2, status=DeliveryStatus.DONE, attempts=1, last_status=200, **ended)
    Delivery.objects.update(created_at=timezone.now() - hour)
    write(row, status=DeliveryStatus.FAILED, attempts=8, last_status=500, last_error="500", **ended)
    write(row, 3)

    names = ("webhook", "pending", "done", "failed", "last_status", "last_error")
    found = api.get("/api/webhooks/states").json()["webhooks"]
    assert [tuple(one[name] for name in names) for one in found] == [
        (quiet.pk, 0, 0, 0, None, ""),
        (row.pk, 3, 2, 1, 500, "500"),
    ]


def test_all_of_it_needs_the_scope_admin_and_leaves_entries():
    row = make("https://shop.example/")
    (id,) = write(row)
    lesser = [scope for scope in Scope.values if scope != Scope.ADMIN]
    api = Client(headers={"X-API-Key": keys.issue("lesser", lesser)[1]})
    calls = [
        *(("get", "/api/webhooks/"), ("post", "/api/webhooks/"), ("get", f"/api/webhooks/{row.pk}/")),
        *(("patch", f"/api/webhooks/{row.pk}/"), ("delete", f"/api/webhooks/{row.pk}/")),
        *(("post", f"/api/webhooks/{row.pk}/{name}") for name in ("test", "rotate", "replay")),
        ("get", "/api/webhooks/states"),
        *(("get", f"/api/webhooks/{row.pk}/deliveries"), ("post", f"/api/deliveries/{id}/replay")),
        ("get", f"/api/deliveries/{id}"),
    ]
    assert {getattr(api, method)(path).status_code for method, path in calls} == {403}
    lacks = {"detail": "An API key with the scope admin is needed."}
    assert api.get("/api/webhooks/").json() == lacks
    assert {getattr(Client(), method)(path).status_code for method, path in calls} <= {401, 403}

    AuditEntry.objects.all().delete()
    api = Client(headers={"X-API-Key": keys.issue("admin", [Scope.ADMIN])[1]})
    send(api, "patch", f"/api/webhooks/{row.pk}/", name="new")
    for path in (f"webhooks/{row.pk}/test", f"webhooks/{row.pk}/rotate", f"deliveries/{id}/replay"):
        send(api, "post", f"/api/{path}")
    entries = AuditEntry.objects.order_by("pk").values_list("action", "target", "outcome")
    assert list(entries) == [
        ("change", f"core.webhook {row.pk}", "ok"),
        ("test", f"core.webhook {row.pk}", "ok"),
        ("rotate", f"core.webhook {row.pk}", "ok"),
        ("replay", f"core.delivery {id}", "ok"),
    ]


def test_the_staff_may_what_its_permissions_say():
    row = make("https://shop.example/", headers={"Authorization": "Bearer 17"})
    (id,) = write(row, status=DeliveryStatus.FAILED, next_at=None)
    client = Client()
    client.force_login(staff := User.objects.create(username="staff", is_staff=True))
    calls = (f"webhooks/{row.pk}/test", f"webhooks/{row.pk}/rotate", f"deliveries/{id}/replay")
    staff.user_permissions.add(Permission.objects.get(codename="view_webhook"))
    assert client.get(f"/api/webhooks/{row.pk}/deliveries").status_code == 200
    assert client.get(f"/api/webhooks/{row.pk}").json()["headers"] == {"Authorization": "…"}
    page = client.get(f"/admin/core/webhook/{row.pk}/change/")
    assert (page.status_code, "Bearer 17" in page.content.decode()) == (200, False)
    assert [client.post(f"/api/{path}").status_code for path in calls] == [403] * 3
    staff.user_permissions.add(Permission.objects.get(codename="change_webhook"))
    assert [client.post(f"/api/{path}").status_code for path in calls] == [202, 200, 202]
    assert client.get(f"/api/webhooks/{row.pk}").json()["headers"] == {"Authorization": "Bearer 17"}


# --- the admin ----------------------------------------------------------------------------------------------


@pytest.fixture
def site() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.com", "pw"))
    return client


FORM = {
    "name": "shop",
    "url": "https://shop.example/",
    "events": "session.*\ntoken.registered",
    "addresses": "room:bus/*",
    "headers": '{"X-A": "b"}',
    "enabled": "on",
}


def test_the_admin_makes_one_and_shows_its_secret_once(site: Client):
    answer = site.post("/admin/core/webhook/add/", FORM, follow=True)
    row = Webhook.objects.get()
    assert row.secret in answer.content.decode()
    assert (row.events, row.addresses, row.headers) == (
        ["session.*", "token.registered"],
        ["room:bus/*"],
        {"X-A": "b"},
    )
    assert [one.id for one in webhooks.all] == [row.pk]
    page = site.get(f"/admin/core/webhook/{row.pk}/change/").content.decode()
    assert row.secret not in page
    assert "session.*\ntoken.registered" in page


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "http://shop.private/"),
        ("url", "no"),
        ("events", ""),
        ("events", "session"),
        ("addresses", "x"),
        ("headers", '{"Host": "x"}'),
    ],
)
def test_the_admin_refuses_what_rest_refuses(site: Client, field: str, value: str):
    answer = site.post("/admin/core/webhook/add/", {**FORM, field: value})
    assert list(answer.context["adminform"].form.errors) == [field]
    assert not Webhook.objects.exists()


def test_the_admin_says_why_one_is_off_and_switches_it_on(site: Client):
    row = make("https://shop.example/", enabled=False, off_because="tired", failing_since=timezone.now())
    assert "tired" in site.get("/admin/core/webhook/").content.decode()
    site.post(f"/admin/core/webhook/{row.pk}/change/", FORM)
    row.refresh_from_db()
    assert (row.enabled, row.off_because, row.failing_since) == (True, "", None)


def test_the_admin_tests_rotates_and_replays(site: Client):
    row = make("https://shop.example/")
    (id,) = write(row, status=DeliveryStatus.DONE, next_at=None)
    for action in ("test", "rotate"):
        answer = site.post(
            "/admin/core/webhook/", {"action": action, "_selected_action": [row.pk]}, follow=True
        )
    old = row.secret
    row.refresh_from_db()
    assert row.old_secret == old
    assert row.secret in answer.content.decode()
    assert Delivery.objects.filter(type="webhook.test").count() == 1

    site.post("/admin/core/delivery/", {"action": "replay", "_selected_action": [id]})
    assert Delivery.objects.get(pk=id).status == DeliveryStatus.PENDING
    assert site.get(f"/admin/core/delivery/{quote(id)}/change/").status_code == 200
    assert site.get("/admin/core/delivery/?status__exact=pending").status_code == 200
    assert site.get("/admin/core/delivery/add/").status_code == 403
