"""The `server` fixture starts Switchboard as operators do, each with settings and a database of its own."""

from __future__ import annotations

import urllib.request

import pytest
from django.conf import settings

from tests.conftest import ServerFactory
from tests.services.databases import sql
from tests.services.ports import answers
from tests.services.process import StartError


@pytest.mark.once
def test_a_server_that_is_started_again_has_started_when_it_is_said_to_have(server: ServerFactory) -> None:
    """Its log still tells of the first start."""
    broker = server()
    broker.stop()

    broker.start()

    assert broker.log_text().count("Switchboard listens on") == 2


@pytest.mark.once
@pytest.mark.parametrize(("runner", "code"), [("serve", 0), ("daphne", None), ("uvicorn", None)])
def test_runner_answers_until_it_is_stopped(server: ServerFactory, runner: str, code: int | None) -> None:
    """`serve` ends with code 0; the others say by it which signal it was, or not."""
    broker = server(runner)

    with urllib.request.urlopen(f"{broker.url}/admin/login/") as reply:
        assert reply.status == 200
    ended = broker.stop()

    assert code is None or ended == code
    assert not answers(broker.port)


def test_databases_are_apart_unless_they_are_shared(server: ServerFactory) -> None:
    one, other = server(start=False), server(start=False)
    beside = server(start=False, DATABASE_URL=one.database_url)

    sql(one.database_url, "INSERT INTO auth_group (name) VALUES (%s)", "staff")

    counts = [
        sql(broker.database_url, "SELECT count(*) FROM auth_group WHERE name = 'staff'")[0][0]
        for broker in (one, other, beside)
    ]
    assert counts == [1, 0, 1]


def test_it_runs_on_the_stack_of_this_pass(server: ServerFactory) -> None:
    broker = server(start=False)

    assert broker.env["REDIS_URL"] == settings.REDIS_URL
    assert ("sqlite" in broker.database_url) == ("sqlite" in settings.DATABASES["default"]["ENGINE"])


def test_settings_of_the_tests_do_not_leak_into_it(
    server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENS_WIRE_COMPAT", "yes")
    monkeypatch.setenv("WORKERS", "7")

    broker = server(start=False, MAX_RECEIVERS="5")

    assert "TOKENS_WIRE_COMPAT" not in broker.env
    assert "WORKERS" not in broker.env
    assert broker.env["MAX_RECEIVERS"] == "5"


def test_a_start_that_fails_shows_why(server: ServerFactory) -> None:
    broker = server(start=False, MAX_FRAME_BYTES="many")

    with pytest.raises(StartError, match="MAX_FRAME_BYTES"):
        broker.start()
