"""`switchboard.publish_later`: a message is scheduled with the caller's transaction, or not at all."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from routing_app.core.access import keys
from routing_app.core.address import AddressError
from routing_app.core.models import ScheduledMessage
from routing_app.core.scheduled.service import TooManyScheduled
from switchboard import publish_later
from tests.documents.blocks import blocks

pytestmark = pytest.mark.django_db

PAGE = blocks("docs/scheduled.md")


def written() -> list[tuple[str, Any]]:
    return list(ScheduledMessage.objects.waiting().values_list("name", "message"))


def test_it_is_there_with_the_commit_and_once_by_its_id():
    id = publish_later(["token:a"], {"n": 1}, delay=60, id="n")

    assert publish_later(["token:a"], {"n": 2}, at=timezone.now() + timedelta(days=1), id="n") == id
    assert written() == [(id, {"n": 1})]


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_was_never_there():
    with transaction.atomic():
        publish_later(["token:a"], "x", delay=timedelta(seconds=60))
        transaction.set_rollback(True)

    assert written() == []


def test_the_example_of_the_page_schedules_a_message():
    exec(next(block.text for block in PAGE if block.language == "python"), {})

    [row] = ScheduledMessage.objects.waiting()
    assert (row.addresses, row.publish_id) == (["token:abc1"], "order-17")
    assert timedelta(minutes=14) < row.at - timezone.now() <= timedelta(minutes=15)


@pytest.mark.django_db(transaction=True)
def test_the_body_on_the_page_is_what_the_api_takes(client: Client):
    body = PAGE[0].text.partition("-d '")[2].partition("'")[0]
    headers = {"X-API-Key": keys.issue("shop")[1]}

    answer = client.post("/api/publish", body, content_type="application/json", headers=headers)

    assert (answer.status_code, list(answer.json())) == (202, ["scheduled"])
    assert json.loads(body)["message"] == written()[0][1]


@pytest.mark.django_db(transaction=True)
def test_the_time_on_the_page_is_one_hour_from_now(client: Client):
    [command] = [block.text for block in PAGE if '"at"' in block.text and block.language == "sh"]
    shown = 'curl() { printf %s "${@: -1}"; }\n' + command  # its last argument is the body
    body = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True).stdout
    headers = {"X-API-Key": keys.issue("shop")[1]}

    assert client.post("/api/publish", body, "application/json", headers=headers).status_code == 202
    [row] = ScheduledMessage.objects.waiting()
    assert timedelta(minutes=59) < row.at - timezone.now() <= timedelta(minutes=60)


@pytest.mark.parametrize(
    ("addresses", "message", "fields", "error"),
    [
        ("token:a", "x", {"delay": 1}, TypeError),
        ([], "x", {"delay": 1}, ValueError),
        (["nowhere"], "x", {"delay": 1}, AddressError),
        ([b"token:a"], "x", {"delay": 1}, AddressError),
        (["token:a"], object(), {"delay": 1}, TypeError),
        (["token:a"], {"price": float("nan")}, {"delay": 1}, ValueError),
        (["token:a"], "a\0", {"delay": 1}, ValueError),
        (["token:a"], "x", {}, ValueError),
        (["token:a"], "x", {"delay": 0}, ValueError),
        (["token:a"], "x", {"delay": timedelta(days=31)}, ValueError),
        (["token:a"], "x", {"at": timezone.now().replace(tzinfo=None)}, ValueError),
        (["token:a"], "x", {"at": timezone.now() - timedelta(hours=1)}, ValueError),
        (["token:a"], "x", {"at": timezone.now(), "delay": 1}, ValueError),
        (["token:a"], "x", {"delay": 1, "id": "a\nb"}, ValueError),
    ],
)
def test_what_cannot_be_scheduled_is_an_error_for_the_caller(
    addresses: Any, message: Any, fields: dict[str, Any], error: type[Exception]
):
    with pytest.raises(error):
        publish_later(addresses, message, **fields)

    assert written() == []


def test_no_more_than_may_wait(settings: Any):
    settings.MAX_SCHEDULED = 0

    with pytest.raises(TooManyScheduled, match="MAX_SCHEDULED"):
        publish_later(["token:a"], "x", delay=1)
