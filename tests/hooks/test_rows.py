"""Hooks as a worker knows them: sorted, kept while they stay the same, read again, and none without rows."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from django.db import OperationalError

from routing_app.core import fresh_rows
from routing_app.core.access import admission
from routing_app.core.cluster.batching import EVERYBODY
from routing_app.core.database import query
from routing_app.core.delivery.connection import Peer
from routing_app.core.hooks import hooks as module
from routing_app.core.hooks.hooks import HOOKS_CHANGED, Hooks
from routing_app.core.hooks.question import Question, Verdict
from routing_app.core.hooks.table import HookRow, HookSet, HookTable
from routing_app.core.models import Hook
from routing_app.core.publishing import publish
from routing_app.core.worker import Worker, current_worker, drop_worker
from tests.services.databases import REPOSITORY
from tests.services.waiting import until

SECRET = "whsec_c2VjcmV0"
STEPS = ("connect", "subscribe", "publish", "request")


def row(id: int, protocol: str, on: str, pattern: str = "*", **fields: Any) -> HookRow:
    fields = {"url": "http://b/", "timeout": 1000, "fail": "open", "headers": (), "secret": SECRET, **fields}
    return HookRow(id, protocol, on, pattern, **fields)


def ids(hooks: HookSet | None, name: str | None = None) -> list[int]:
    return [] if hooks is None else [backend.id for backend in hooks.matching(name)]


@pytest.mark.once
def test_a_protocol_has_its_own_hooks_and_those_of_all():
    table = HookTable()
    tokens = table.of("tokens")
    assert [getattr(tokens, step) for step in STEPS] == [None] * 4
    rows = [
        row(1, "*", "publish", "token:a*"),
        row(2, "tokens", "publish", "token:abc"),
        row(3, "rooms", "publish"),
        row(4, "*", "connect"),
        row(5, "tokens", "publish", "token:x/y/z"),
    ]
    table.use(rows)
    assert table.of("tokens") is tokens
    assert [ids(getattr(tokens, step)) for step in STEPS] == [[4], [], [1, 2, 5], []]
    assert ids(table.of("api").publish) == [1]
    of_publish = tokens.publish
    assert [ids(of_publish, f"token:{name}") for name in ("ab", "abc", "b", "x/", "x/y/z", "x/q/")] == [
        *([1], [1, 2], [], [5], [5], []),
    ]
    table.use(rows[:1])
    assert [ids(getattr(tokens, step)) for step in STEPS] == [[], [], [1], []]
    table.use([])
    assert [getattr(tokens, step) for step in STEPS] == [None] * 4


@pytest.mark.once
def test_a_hook_whose_row_stays_keeps_its_breaker_and_a_changed_one_begins_again():
    table = HookTable()
    table.use([row(1, "tokens", "publish"), row(2, "tokens", "publish")])
    first, second = table.backends
    table.use(
        [row(1, "tokens", "publish"), row(2, "tokens", "publish", url="http://c/"), row(3, "*", "connect")]
    )
    one, other, _ = table.backends
    assert one is first
    assert other is not second


@pytest.mark.once
@pytest.mark.parametrize("fail", ["open", "closed"])
async def test_a_hook_whose_url_cannot_be_called_fails_and_leaves_all_others_as_they_are(fail: str):
    """Rows may be older than the rule that refuses them, or be of another program."""
    table = HookTable()
    table.use([row(1, "tokens", "publish")])
    table.use([row(1, "tokens", "publish"), row(2, "rooms", "connect", url="http://b:99999/", fail=fail)])

    assert ids(table.of("tokens").publish) == [1]
    assert ids(table.of("rooms").connect) == [2]
    _, bad = table.backends
    verdict = Verdict()
    await bad.ask(Question("rooms", "", "", "", None), verdict)
    assert (verdict.unavailable, verdict.allow) == (True, fail == "open")


@pytest.mark.django_db(transaction=True)
async def test_a_change_holds_when_the_process_is_told(worker: Worker):
    hooks = worker.hooks.of("tokens")
    await worker.start()
    made = await query(lambda: Hook.objects.create(protocol="tokens", on="publish", url="http://b/"))
    await publish((EVERYBODY,), None, event=HOOKS_CHANGED)
    await until(lambda: ids(hooks.publish) == [made.pk])


@pytest.mark.django_db(transaction=True)
async def test_a_change_of_which_nothing_was_heard_holds_a_little_later(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fresh_rows, "READ_SECONDS", 0.02)
    hooks = worker.hooks.of("tokens")
    await worker.start()
    made = await query(lambda: Hook.objects.create(protocol="tokens", on="publish", url="http://b/"))
    await until(lambda: ids(hooks.publish) == [made.pk])
    await query(lambda: Hook.objects.update(enabled=False))
    await until(lambda: hooks.publish is None)


@pytest.fixture
async def worker() -> Any:
    one = current_worker()
    yield one
    await one.stop()
    drop_worker()


@pytest.mark.once
@pytest.mark.django_db(transaction=True)
async def test_nobody_is_served_before_the_rows_are_known_and_later_known_ones_stay(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    def out() -> list[HookRow]:
        raise OperationalError("out")

    hooks = Hooks(worker.hub, worker.spawn)
    monkeypatch.setattr(module, "read_rows", out)
    await hooks.start()
    assert not hooks.are_known
    worker.hooks, worker.serving = hooks, True
    with pytest.raises(OperationalError):
        await admission.enter(worker, Peer("10.0.0.1"))
    monkeypatch.setattr(module, "read_rows", lambda: [row(1, "*", "publish")])
    await admission.enter(worker, Peer("10.0.0.1"))
    worker.serving = False
    monkeypatch.setattr(module, "read_rows", out)
    await hooks.read()
    assert ids(hooks.of("tokens").publish) == [1]
    hooks.stop()
    assert ids(hooks.of("tokens").publish) == [1]


@pytest.mark.once
def test_without_a_hook_no_client_of_http_is_imported():
    code = (
        "import sys, django; django.setup();"
        "from routing_app.core.hooks import admin;"
        "assert not {'routing_app.core.outgoing.kept', 'httpx'} & set(sys.modules)"
    )
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "broker_project.settings"}
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, env=env)
