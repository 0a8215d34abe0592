"""The `server` fixture starts Switchboard as operators do, each with settings and a database of its own."""

from __future__ import annotations

import urllib.request

import pytest
from django.conf import settings

from tests.conftest import ServerFactory
from tests.services.ports import answers
from tests.services.process import StartError
from tests.tokens.client import call


@pytest.mark.parametrize("runner", ["serve", "daphne", "uvicorn"])
def test_runner_answers_until_it_is_stopped(server: ServerFactory, runner: str) -> None:
    broker = server(runner)

    with urllib.request.urlopen(f"{broker.url}/admin/login/") as reply:
        assert reply.status == 200
    broker.stop()

    assert not answers(broker.port)


def test_serve_ends_with_code_0_when_it_is_stopped(server: ServerFactory) -> None:
    assert server().stop() == 0


def test_databases_are_apart_unless_they_are_shared(server: ServerFactory) -> None:
    one, other = server(), server()
    beside = server(DATABASE_URL=one.database_url)

    assert call(one, "POST", "/api/tokens/", {"token": "anna"}).status == 201
    counts = [call(broker, "GET", "/api/tokens/").json()["count"] for broker in (one, other, beside)]
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

    broker = server(start=False, MESSAGE_RATE="5")

    assert "TOKENS_WIRE_COMPAT" not in broker.env
    assert "WORKERS" not in broker.env
    assert broker.env["MESSAGE_RATE"] == "5"


def test_a_start_that_fails_shows_why(server: ServerFactory) -> None:
    broker = server(start=False, MAX_FRAME_BYTES="many")

    with pytest.raises(StartError, match="MAX_FRAME_BYTES"):
        broker.start()
