"""The page of two workers: each histogram shows what clients did, and gauges are those of living workers."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from websockets.sync.client import connect

from routing_app.core.codes import Loss, Refusal
from tests.events.client import make_user
from tests.hooks.backend import Backend, Hooks, call
from tests.metrics.page import Page
from tests.requests.peer import Peer
from tests.services.ports import LOOPBACK
from tests.services.process import children
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once  # its processes share a Redis on both stacks


def fetch(server: Server, method: str, path: str, body: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=60)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@contextmanager
def token_sockets(server: Server, token: str, count: int) -> Iterator[list[Any]]:
    with ExitStack() as stack:
        url = f"{server.ws_url}/ws?RegisterToken={token}"
        yield [stack.enter_context(connect(url, proxy=None)) for _ in range(count)]


def test_what_alerts_look_at_is_shown_before_it_happens(page: Page) -> None:
    shown = {(one.name, *sorted(one.labels.items())) for one in page.samples()}
    wanted = [("switchboard_lost_total", ("reason", str(loss))) for loss in Loss]
    wanted += [("switchboard_writes_total", ("outcome", one)) for one in ("committed", "failed")]
    attempts = ("done", "retry", "failed", "gone")
    wanted += [("switchboard_webhook_attempts_total", ("outcome", one)) for one in attempts]
    assert [one for one in wanted if one not in shown] == []

    refused = [
        ("switchboard_refused_total", ("protocol", protocol), ("reason", reason))
        for protocol in ("tokens", "rooms", "events", "requests", "stream", "sessions", "api")
        for reason in Refusal
    ]
    assert [one for one in refused if one not in shown] == []


def test_sockets_are_timed_from_handshake_to_written(page: Page) -> None:
    token = secrets.token_hex(4)
    before = {name: page.value(f"switchboard_{name}_seconds_count") for name in ("publish", "query", "write")}
    with token_sockets(page.server, token, 8) as sockets:
        page.reaches(8, "switchboard_handshake_seconds_count", protocol="tokens")
        for number in range(20):
            call(page.server, "POST", "/api/publish", {"addresses": [f"token:{token}"], "message": number})
        for socket in sockets:
            assert len([socket.recv(timeout=60) for _ in range(20)]) == 20
        sockets[0].send(json.dumps({"anything": 1}))
        page.reaches(1, "switchboard_handle_seconds_count", protocol="tokens")
    page.reaches(before["publish"] + 20, "switchboard_publish_seconds_count")
    page.reaches(before["write"] + 1, "switchboard_write_seconds_count")
    page.reaches(before["query"] + 1, "switchboard_query_seconds_count")
    page.reaches(1, "switchboard_write_wait_seconds_count")
    page.reaches(4, "switchboard_loop_lag_seconds_count")


def test_the_way_to_another_worker_is_timed(page: Page) -> None:
    token = secrets.token_hex(4)
    with token_sockets(page.server, token, 12):

        def crosses() -> bool:
            call(page.server, "POST", "/api/publish", {"addresses": [f"token:{token}"], "message": "x"})
            return page.value("switchboard_relay_seconds_count") >= 1

        wait_until(crosses)
    assert page.value("switchboard_redis_up") == 1


def test_a_poll_a_walker_a_handler_and_a_session_are_timed(page: Page) -> None:
    status, opened = fetch(page.server, "GET", "/socket.io/?EIO=4&transport=polling")
    assert status == 200
    poll = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened[1:])['sid']}"
    assert fetch(page.server, "POST", poll, "40/bus,") == (200, "ok")
    assert fetch(page.server, "GET", poll)[0] == 200
    page.reaches(1, "switchboard_poll_seconds_count", protocol="rooms")

    make_user(page.server)
    page.reaches(1, "switchboard_walker_seconds_count", walker="make_user")

    peer = Peer(page.server)
    peer.ask("echo")
    peer.close()
    page.reaches(1, "switchboard_request_seconds_count", type="echo")
    page.reaches(1, "switchboard_close_codes_total", protocol="requests", code="1000")

    assert fetch(page.server, "POST", "/sessions", "{}")[0] == 401
    page.reaches(1, "switchboard_session_create_seconds_count", status="401")


def test_a_hook_and_a_webhook_are_timed(page: Page) -> None:
    backend = Backend()
    token = secrets.token_hex(4)
    try:
        with Hooks(page.server, backend).hook("tokens", "connect", "*") as route:

            def asked() -> bool:
                with token_sockets(page.server, token, 1):
                    return bool(route.asked)

            wait_until(asked)
            page.reaches(1, "switchboard_hook_seconds_count", on="connect")
        webhook = {"name": "metrics", "url": route.url, "events": ["*"]}
        status, made = call(page.server, "POST", "/api/webhooks/", webhook)
        assert status == 201, made

        def called() -> bool:
            with token_sockets(page.server, secrets.token_hex(4), 1):
                return page.value("switchboard_webhook_seconds_count") >= 1

        wait_until(called)
        call(page.server, "DELETE", f"/api/webhooks/{made['id']}/")
    finally:
        backend.close()


def test_no_label_holds_what_clients_and_operators_chose(page: Page) -> None:
    chosen = f"chosen-{secrets.token_hex(8)}"
    with token_sockets(page.server, chosen, 1) as (socket,):
        call(page.server, "POST", "/api/publish", {"addresses": [f"token:{chosen}"], "message": chosen})
        socket.recv(timeout=60)
        socket.close(4321, chosen)
    peer = Peer(page.server)
    peer.ask(chosen)
    peer.close()
    fetch(page.server, "POST", f"/walker/{chosen}", "{}")
    with connect(f"{page.server.ws_url}/ws?RegisterToken={chosen}", proxy=None) as again:
        again.close()
    page.reaches(1, "switchboard_close_codes_total", protocol="tokens", code="other")

    values = {value for one in page.samples() for value in one.labels.values()}
    assert not {value for value in values if chosen in value or "4321" in value}


def test_a_worker_that_is_killed_leaves_its_counts_and_takes_its_gauges(page: Page) -> None:
    token = secrets.token_hex(4)

    def rows(path: str) -> Any:
        return call(page.server, "GET", path)[1]["results"]

    with ExitStack() as stack:
        for _ in range(12):
            url = f"{page.server.ws_url}/ws?RegisterToken={token}"
            stack.enter_context(connect(url, proxy=None))
        page.reaches(12, "switchboard_connections", protocol="tokens")
        opened = page.value("switchboard_opened_total", protocol="tokens")
        shaken = "switchboard_handshake_seconds_count"
        wait_until(lambda: page.value(shaken, protocol="tokens") == opened)
        # One of the two, which may have taken all of them.
        taker = wait_until(lambda: rows(f"/api/clients/?address=token:{token}"))[0]["worker"]
        [victim] = [one["pid"] for one in rows("/api/workers/") if one["id"] == taker]
        assert victim in children(page.server.pid)

        os.kill(victim, signal.SIGKILL)

        wait_until(lambda: page.value("switchboard_connections", protocol="tokens") < 12)
        assert page.value("switchboard_opened_total", protocol="tokens") == opened
        assert page.value(shaken, protocol="tokens") == opened
    wait_until(lambda: page.value("switchboard_connections", protocol="tokens") == 0)
    wait_until(lambda: len(children(page.server.pid)) == 2)


# --- the log ----------------------------------------------------------------------------------------------

PRINTED = ("API key:", "publisher:", "its secret:", "Switchboard listens on")


def lines_of(page: Page) -> list[str]:
    """The lines of the log that are written to their end."""
    return page.server.log_text().rpartition("\n")[0].splitlines()


def objects(page: Page) -> list[dict[str, Any]]:
    """The lines of the log that are objects."""
    return [json.loads(line) for line in lines_of(page) if line.startswith("{")]


def test_each_line_of_the_log_is_an_object_and_what_is_printed_is_none_of_them(page: Page) -> None:
    printed = [line for line in lines_of(page) if not line.startswith("{")]

    assert objects(page)
    assert all({"time", "level", "logger", "message"} <= one.keys() for one in objects(page))
    assert any("Switchboard listens on" in line for line in printed)
    assert not [one for one in objects(page) if "Switchboard listens on" in one["message"]]
    assert [line for line in printed if not line.startswith(PRINTED)] == []
    [secret] = [line.partition(":")[2].strip() for line in printed if line.startswith("its secret:")]
    assert secret not in json.dumps(objects(page))


def test_a_line_says_whom_it_is_about_and_a_traceback_is_a_part_of_it(page: Page) -> None:
    peer = Peer(page.server)
    id = peer.id
    peer.ask("boom")
    peer.close()

    def failures() -> list[dict[str, Any]]:
        return [one for one in objects(page) if one.get("connection") == id and "exception" in one]

    wait_until(failures)
    [line] = failures()
    assert (line["level"], line["logger"]) == ("ERROR", "routing_app.requests.consumer")
    assert "Traceback" in line["exception"]
    assert line["request_id"]
