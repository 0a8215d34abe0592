"""Streams of a whole server: what every way of publishing keeps, and what a stop and a crash leave."""

from __future__ import annotations

import json
import secrets
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from django.conf import settings
from websockets.sync.client import connect

from tests.conftest import ServerFactory
from tests.services.server import Server
from tests.services.waiting import wait_until

A = "token:kept/a"
PATIENT: Final[dict[str, Any]] = {"proxy": None, "open_timeout": 60}
"""Options of a client on a busy machine."""


def call(server: Server, method: str, path: str, body: Any = None) -> Any:
    """The answer to a REST call with a key that may do everything."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-API-Key": server.api_key, "Content-Type": "application/json"}
    request = Request(server.url + path, data, headers, method=method)
    try:
        with urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")
    except HTTPError as error:
        return error.code


def surely(server: Server, method: str, path: str, body: Any = None) -> Any:
    """The same, again while the store does not answer; a message by one id, so that it is published once."""
    named = body and {"id": secrets.token_hex(8), **body}
    return wait_until(lambda: (answer := call(server, method, path, named)) != 503 and answer)


def messages(server: Server, query: str = "") -> list[Any]:
    return [one["message"] for one in surely(server, "GET", f"/api/history?address={A}{query}")["messages"]]


def test_every_publisher_is_kept_and_a_stop_goes_on_where_a_crash_does_not(server: ServerFactory) -> None:
    broker = server(HISTORY_SIZE="0")
    rule = call(broker, "POST", "/api/rules/", {"pattern": "token:kept/*", "history_size": 10})
    assert rule["history_seconds"] == 300
    wait_until(lambda: call(broker, "GET", f"/api/history?address={A}&limit=0") not in (404, 503))

    with connect(f"{broker.ws_url}/ws?RegisterToken=kept/a", **PATIENT) as subscriber:
        surely(broker, "POST", "/api/publish", {"addresses": [A], "message": "by REST"})
        with connect(f"{broker.ws_url}/ws?RegisterToken=sender", **PATIENT) as sender:
            sender.send("kept/a|by a client")
            assert [subscriber.recv(60), subscriber.recv(60)] == ["by REST", "by a client"]
        with connect(f"{broker.ws_url}/connection?key={broker.api_key}", **PATIENT) as peer:
            id = secrets.token_hex(4)  # servers of the tests share a Redis
            publish = {"type": "publish", "addresses": [A], "message": "by a request", "id": id}
            for key in (1, 2):
                peer.send(json.dumps({**publish, "key": key, "direction": "REQUEST"}))
            first, again = json.loads(peer.recv(60)), json.loads(peer.recv(60))
        assert subscriber.recv(60) == "by a request"
    assert first["positions"][A]["offset"] == 3
    assert (again["positions"], again["repeated"]) == (first["positions"], True)
    assert messages(broker) == ["by REST", "by a client", "by a request"]
    position = surely(broker, "GET", f"/api/history?address={A}&limit=0")
    since = f"&since={position['epoch']}:1"

    assert broker.stop() == 0
    broker.start()
    assert messages(broker, since) == ["by a client", "by a request"]
    answer = surely(broker, "POST", "/api/publish", {"addresses": [A], "message": "after"})
    assert answer["positions"][A] == {"epoch": position["epoch"], "offset": 4}

    broker.kill()
    broker.start()
    after = surely(broker, "GET", f"/api/history?address={A}{since}")
    # Redis has them all; what was in the memory of a process is gone with it.
    survives = bool(settings.REDIS_URL)
    assert after["recovered"] is survives
    assert (after["epoch"] == position["epoch"]) is survives
    assert len(after["messages"]) == (3 if survives else 0)
