"""Webhooks of a real server: whatever dies when, every event of a commit arrives, and no other one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook as Verifier

from tests.services import prestarted
from tests.services.databases import REPOSITORY, Databases, sql
from tests.services.running import running
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.tokens.client import call
from tests.webhooks.receiver import Receiver


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("webhooks")
    with running(databases, folder, WEBHOOKS_PRIVATE="yes") as server:
        yield server


def write(server: Server, code: str) -> int:
    """Run code that reports events in another process on the same database; its exit code."""
    lines = (
        "import os\n"
        "from django.db import transaction\n"
        "from routing_app.core.webhooks.report import Event, report\n"
        "from routing_app.core.webhooks.events import EventType\n"
        "tell = lambda word: report(Event(EventType.USER_REGISTERED, {'word': word}))\n"
    )
    command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", lines + code]
    return prestarted.run(command, server.env, REPOSITORY).returncode


def words(receiver: Receiver, path: str) -> list[str]:
    return [json.loads(call.body)["data"]["word"] for call in receiver.of(path)]


def statuses(server: Server) -> set[str]:
    return {status for (status,) in sql(server.database_url, "SELECT DISTINCT status FROM core_delivery")}


def test_a_webhook_of_the_api_receives_what_happens(broker: Server, receiver: Receiver):
    body = {"name": "a", "url": receiver.url("/ok"), "events": ["token.*"]}
    made = call(broker, "POST", "/api/webhooks/", body).json()
    assert call(broker, "POST", f"/api/webhooks/{made['id']}/test").status == 202
    wait_until(lambda: len(receiver.calls) == 1)
    assert call(broker, "POST", "/api/tokens/", {"token": "abc12345"}).status == 201
    wait_until(lambda: len(receiver.calls) == 2)

    told = [Verifier(made["secret"]).verify(one.body, one.headers) for one in receiver.calls]
    assert [one["type"] for one in told] == ["webhook.test", "token.registered"]
    path = f"/api/webhooks/{made['id']}/deliveries?status=done"
    wait_until(lambda: call(broker, "GET", path).json()["count"] == 2)
    assert {one["id"] for one in call(broker, "GET", path).json()["results"]} == {
        one.id for one in receiver.calls
    }
    call(broker, "DELETE", f"/api/webhooks/{made['id']}")


def test_what_is_committed_arrives_though_its_writer_and_the_worker_are_killed(
    broker: Server, receiver: Receiver
):
    body = {"name": "b", "url": receiver.url("/hold"), "events": ["user.registered"]}
    assert call(broker, "POST", "/api/webhooks/", body).status == 201
    rolled_back = (
        "with transaction.atomic():\n"
        "    tell('rolled back')\n"
        "    transaction.set_rollback(True)\n"
        "with transaction.atomic():\n"
        "    tell('never committed')\n"
        "    os._exit(9)\n"
    )
    assert write(broker, rolled_back) == 9
    committed = (
        "with transaction.atomic():\n"
        "    transaction.on_commit(lambda: os._exit(9))\n"
        "    for n in range(20): tell(str(n))\n"
    )
    assert write(broker, committed) == 9
    # The server gives up a call that is held for 10 s: nothing else is done before it is killed.
    wait_until(lambda: len(receiver.calls) == 8)
    broker.kill()

    # The time of a worker that died, which is half a minute, is over.
    sql(broker.database_url, "UPDATE core_delivery SET next_at = created_at WHERE status = 'pending'")
    receiver.release()
    broker.start()
    wait_until(lambda: statuses(broker) == {"done"})

    told = words(receiver, "/hold")
    assert set(told) == {str(n) for n in range(20)}
    assert len(told) == 28
    ids = {(one.id, one.body) for one in receiver.calls}
    assert len(ids) == 20
    assert receiver.twice_at_once == []
    log = broker.log_text()
    assert "whsec_" not in log
    assert "/hold" not in log
