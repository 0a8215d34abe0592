"""Limits of handshakes, on every protocol, and of HTTP: calls of the REST API, logins."""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request

import pytest
from websockets.exceptions import InvalidStatus

from tests.rate_limits.client import Socket, get, refusals
from tests.rate_limits.outages import again_if_redis_was_out
from tests.services.limits import limited
from tests.services.server import Server
from tests.services.waiting import wait_until

SOCKETS = {
    "tokens": "/ws",
    "rooms": "/layout",
    "events": "/websocket",
    "requests": "/connection",
    "rooms socketio 4": "/socket.io/?EIO=4&transport=websocket",
    "rooms socketio 2": "/socket.io/?EIO=3&transport=websocket",
}


@pytest.mark.parametrize(("name", "path"), SOCKETS.items(), ids=list(SOCKETS))
@again_if_redis_was_out()
def test_a_handshake_is_refused_with_429_for_its_network_alone(
    broker: Server, host: str, other_host: str, name: str, path: str
):
    with limited(broker, name.partition(" ")[0], "connect", "network", rate=0.01):
        first = Socket(broker, path, host)
        with pytest.raises(InvalidStatus) as refused:
            Socket(broker, path, host)
        elsewhere = Socket(broker, path, other_host)

    answer = refused.value.response
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 100
    first.close()
    elsewhere.close()


@pytest.mark.parametrize(("name", "path"), SOCKETS.items(), ids=list(SOCKETS))
@again_if_redis_was_out()
def test_a_handshake_is_accepted_and_closed(broker: Server, host: str, name: str, path: str):
    with limited(broker, name.partition(" ")[0], "connect", "network", then="close"):
        first = Socket(broker, path, host)
        assert Socket(broker, path, host).close_code() == 4101
    first.close()


@pytest.mark.parametrize(("name", "path"), SOCKETS.items(), ids=list(SOCKETS))
@again_if_redis_was_out()
def test_a_handshake_waits(broker: Server, host: str, name: str, path: str):
    with limited(broker, name.partition(" ")[0], "connect", "network", rate=20, then="wait"):
        begun = time.monotonic()
        for _ in range(3):
            Socket(broker, path, host).close()
        assert time.monotonic() - begun >= 2 / 20 - 0.01


@again_if_redis_was_out()
def test_polling_begins_are_refused_with_429_and_polls_are_not(broker: Server, host: str):
    begin = "/socket.io/?EIO=4&transport=polling"
    with limited(broker, "rooms", "connect", "network", then="close"):
        status, _, body = get(broker, begin, host)
        assert status == 200
        assert get(broker, begin, host)[:1] == (429,)
        sid = json.loads(body[1:])["sid"]
        request = urllib.request.Request(
            f"{broker.url}{begin}&sid={sid}", b"40", {"X-Forwarded-For": host, "Content-Type": "text/plain"}
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.read() == b"ok"


@pytest.mark.parametrize("command", ["connect", "subscribe"])
@pytest.mark.parametrize("per", ["network", "identity", "key"])
@pytest.mark.parametrize("then", ["refuse", "close"])
@again_if_redis_was_out()
def test_event_streams_are_refused_with_429(broker: Server, host: str, command: str, per: str, then: str):
    path = "/api/stream?address=token:nobody"
    with limited(broker, "stream", command, per, then=then, rate=0.01):
        assert get(broker, path, host, broker.api_key)[0] == 200
        status, retry, body = get(broker, path, host, broker.api_key)

    assert (status, json.loads(body)) == (429, {"detail": "Beyond a rate limit."})
    assert 1 <= int(retry) <= 100


@again_if_redis_was_out()
def test_an_event_source_that_comes_back_is_told_when_to_try_again(broker: Server, host: str):
    path = "/api/stream?address=token:nobody"
    returning = {"Last_Event_ID": "x", "Accept": "text/event-stream"}
    headers = {name.replace("_", "-"): value for name, value in returning.items()}
    with limited(broker, "stream", "connect", "network", rate=0.01):
        get(broker, path, host, broker.api_key)
        status, _, line = get(broker, path, host, broker.api_key, **headers)

    assert status == 200
    assert line.startswith(b"retry: ")


@again_if_redis_was_out()
def test_what_a_handshake_names_counts_as_a_subscription(broker: Server, host: str):
    paths = {"tokens": "/ws?RegisterToken=a", "events": "/websocket?channel_id=a"}
    for protocol, path in paths.items():
        with limited(broker, protocol, "subscribe", "network"):
            Socket(broker, path, host).close()
            with pytest.raises(InvalidStatus):
                Socket(broker, path, host)
            Socket(broker, path.partition("?")[0], host).close()
    with limited(broker, "rooms", "subscribe", "network"):
        Socket(broker, "/lobby?lobbyId=a", host).close()
        with pytest.raises(InvalidStatus):
            Socket(broker, "/lobby?lobbyId=a", host)


# --- REST -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["*", "api"])
@pytest.mark.parametrize("path", ["/api/clients/", "/api/history?address=token:nobody", "/api/rules/"])
@again_if_redis_was_out()
def test_calls_beyond_a_limit_are_answered_with_429(
    broker: Server, host: str, other_host: str, protocol: str, path: str
):
    key = broker.api_key
    with limited(broker, protocol, "api", "network", rate=0.01, burst=2):
        before = refusals(broker, "api")
        statuses = [get(broker, path, host, key)[0] for _ in range(3)]
        status, retry, body = get(broker, path, host, "a wrong key")
        assert get(broker, path, other_host, key)[0] == statuses[0]

    assert statuses == [statuses[0], statuses[0], 429]
    assert status == 429
    assert 1 <= int(retry) <= 100
    assert "throttled" in json.loads(body)["detail"]
    assert refusals(broker, "api") - before == 2


@again_if_redis_was_out()
def test_calls_of_a_key_count_wherever_they_come_from_and_a_wrong_key_counts_for_nobody(
    broker: Server, host: str, other_host: str
):
    path = "/api/clients/"
    for per in ("key", "identity"):
        with limited(broker, "*", "api", per, burst=3) as id:  # the last one is for the deletion
            assert id
            assert [get(broker, path, host, "wrong")[0] for _ in range(3)] == [401] * 3
            assert get(broker, path, host, broker.api_key)[0] == 200
            assert get(broker, path, other_host, broker.api_key)[0] == 200


@again_if_redis_was_out()
def test_calls_wait(broker: Server, host: str):
    with limited(broker, "*", "api", "network", rate=20, then="wait"):
        begun = time.monotonic()
        statuses = [get(broker, "/api/clients/", host, broker.api_key)[0] for _ in range(3)]
        assert time.monotonic() - begun >= 2 / 20 - 0.01

    assert statuses == [200] * 3


@again_if_redis_was_out()
def test_pages_that_are_not_the_api_are_not_calls(broker: Server, host: str):
    with limited(broker, "*", "api", "network"):
        assert [get(broker, "/admin/login/", host)[0] for _ in range(3)] == [200] * 3
        assert [get(broker, "/health/live", host)[0] for _ in range(3)] == [200] * 3


@again_if_redis_was_out()
def test_logins_count_for_the_client_behind_the_proxy(broker: Server, host: str, other_host: str):
    def try_(place: str, email: str) -> int:
        body = json.dumps({"email": email, "password": "a guess"}).encode()
        headers = {"X-Forwarded-For": place, "Content-Type": "application/json"}
        try:
            urllib.request.urlopen(urllib.request.Request(f"{broker.url}/user/login", body, headers))
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        return 200

    with limited(broker, "events", "login", "network", burst=2):
        assert [try_(host, f"{name}@example.com") for name in ("a", "b", "c")] == [400, 400, 429]
        assert try_(other_host, "a@example.com") == 400


def test_a_client_that_leaves_while_it_waits_is_not_kept(broker: Server, host: str):
    token = f"t{secrets.token_hex(4)}"
    client = Socket(broker, f"/ws?RegisterToken={token}", host)

    def is_present() -> bool:
        body = get(broker, f"/api/clients/?address=token:{token}", host, broker.api_key)[2]
        return bool(json.loads(body)["count"])

    wait_until(is_present)
    with limited(broker, "tokens", "*", "connection", rate=0.02, then="wait"):
        client.send(*("Echo:x" for _ in range(5)))
        client.texts("x")  # the second one waits for most of a minute
        client.close()
        wait_until(lambda: not is_present(), seconds=25)
