"""The admin lists messages that wait, withdraws them, and shows what they say to those who may see it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from routing_app.core.models import ScheduledMessage
from routing_app.core.scheduled.mover import move_due
from switchboard import publish_later

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/admin/core/scheduledmessage/"


def staff(*permissions: str) -> Client:
    user = User.objects.create(username=f"anna {len(permissions)}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("sees", [True, False])
def test_what_a_message_says_is_for_those_who_may_view_messages(sees: bool):
    publish_later(["token:secret1"], {"text": "canary"}, delay=60)
    client = staff("view_scheduledmessage", *(["view_messages"] if sees else []))

    pages = [client.get(PATH), client.get(f"{PATH}{ScheduledMessage.objects.get().pk}/change/")]

    assert [page.status_code for page in pages] == [200, 200]
    assert [b"canary" in page.content for page in pages] == [False, sees]
    assert not any(b"secret1" in page.content for page in pages)
    assert all("token:se… (7)".encode() in page.content for page in pages)


def test_one_that_shall_not_be_sent_is_withdrawn():
    publish_later(["token:a"], "x", delay=60)
    row = ScheduledMessage.objects.get()

    assert staff("view_scheduledmessage").post(f"{PATH}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    staff("view_scheduledmessage", "delete_scheduledmessage").post(f"{PATH}{row.pk}/delete/", {"post": "yes"})

    assert not ScheduledMessage.objects.exists()


def test_one_whose_time_has_come_is_there_no_more():
    publish_later(["token:a"], "x", at=timezone.now() - timedelta(seconds=10), id="n")
    publish_later(["token:a"], "y", delay=60)
    sent, waiting = ScheduledMessage.objects.order_by("at")
    assert move_due() == 1
    client = staff("view_scheduledmessage", "delete_scheduledmessage")

    chosen = {"action": "delete_selected", "_selected_action": [sent.pk, waiting.pk], "post": "yes"}
    client.post(f"{PATH}{sent.pk}/delete/", {"post": "yes"})
    client.post(PATH, chosen)

    assert list(ScheduledMessage.objects.all()) == [sent]
