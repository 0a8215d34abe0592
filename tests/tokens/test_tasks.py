"""TOKENS_URL: a server keeps itself up to date with a table elsewhere."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

import pytest

from tests.conftest import ServerFactory
from tests.services.waiting import wait_until
from tests.tokens.client import call, form, refusal
from tests.tokens.conftest import Connect
from tests.tokens.test_imports import reply, website


def test_decision_24_table_is_imported_refreshed_and_kept_when_the_site_fails(
    server: ServerFactory, connect: Connect
) -> None:
    answers = [reply(200, b'{"abc1": true, "abc2": true, "secret|": true}')]

    def answer(request: BaseHTTPRequestHandler) -> None:
        answers[-1](request)

    with website(answer) as url:
        broker = server(
            TOKENS_URL=f"{url}/t?key=hidden", TOKENS_REFRESH_SECONDS="0.2", TOKENS_ALLOW_UNREGISTERED="no"
        )
        kept, revoked = connect(broker, "abc1"), connect(broker, "abc2")
        assert refusal(broker, "abc3") == 403

        answers.append(reply(200, b'{"abc2": false, "abc3": true}'))
        assert revoked.close_code() == 4403
        connect(broker, "abc3")
        assert kept.received() == []

        answers.append(reply(500))
        wait_until(lambda: "the answer was 500" in broker.log_text())
        answers.append(reply(200, b"<html>"))
        wait_until(lambda: "the table is not JSON" in broker.log_text())
        rows = {"abc1": True, "abc2": False, "abc3": True}
        assert form(broker, "registeredTokenList").json() == rows

        form(broker, "unregisterToken", token="abc1")
        answers.append(reply(200, b'{"abc1": true, "abc4": true}'))
        wait_until(lambda: form(broker, "registeredTokenList").json() == rows | {"abc1": False, "abc4": True})

    log = broker.log_text()
    assert "3 added" not in log
    assert "2 added, 0 enabled, 0 disabled, 0 unchanged, 0 kept disabled, 1 skipped" in log
    assert "skipped entry 3, se… (7): a token holds no comma and no |" in log
    assert "Traceback" not in log
    assert "hidden" not in log


@pytest.mark.once
def test_table_is_there_before_the_first_client(server: ServerFactory) -> None:
    with website(reply(200, b'{"abc1": true}')) as url:
        broker = server(TOKENS_URL=url)

        wait_until(lambda: form(broker, "registeredTokenList").json() == {"abc1": True})


@pytest.mark.once
def test_site_that_is_down_at_start_does_not_stop_the_server(server: ServerFactory, connect: Connect) -> None:
    with website(reply(200)) as url:
        pass
    broker = server(TOKENS_URL=url)

    assert connect(broker, "abc1").received() == []
    assert call(broker, "GET", "/api/tokens/").json()["count"] == 0
    wait_until(lambda: "the last table stays" in broker.log_text())


@pytest.mark.once
def test_wrong_url_stops_the_start_with_one_line(server: ServerFactory) -> None:
    broker = server(start=False, TOKENS_URL="ftp://a.example/t")

    broker.launch()

    assert broker.process.wait() != 0
    assert broker.log_text() == "switchboard: TOKENS_URL: expected a URL of http, https or file\n"
