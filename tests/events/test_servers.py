"""The same on every ASGI server, and what the log may hold."""

from __future__ import annotations

import secrets

import pytest

from tests.events.client import PASSWORD, Socket, User, call, people
from tests.events.conftest import Launch
from tests.services.server import Server


@pytest.mark.once
@pytest.mark.parametrize("runner", ["daphne", "uvicorn"])
def test_plain_asgi_servers_serve_the_protocol(launch: Launch, runner: str):
    with launch(runner, EVENTS_EXPIRED_SOCKETS="close") as server:
        (user,) = people(server, 1)
        with Socket(server, "tea", user.token) as socket, Socket(server, "tea") as other:
            for name in ("narrate", "narrate_async"):
                socket.send({"type": "walker", "walker": name, "response": True, "context": {"number": 2}})
                frames = [socket.receive() for _ in range(5)]
                assert frames[0] == {"step": 0}
                assert frames[-1] == {"status": 200, "reports": ["told"]}
                assert [other.receive() for _ in range(2)] == [{"step on channel": 0}, {"step on channel": 1}]
            context = {"channel_id": "tea"}
            assert call(server, "POST", "/walker/send_chat_to_group", context, user.token).status == 200
            assert other.receive()["type"] == "chat"
            assert call(server, "POST", "/user/logout", None, user.token).status == 200
            assert socket.close_code() == 4008


def test_with_debug_a_traceback_goes_to_the_client(launch: Launch):
    with launch(DEBUG="yes") as server:
        (user,) = people(server, 1)
        with Socket(server, token=user.token) as socket:
            lines = socket.walk("raise_secret")["error"]

    assert lines[0] == "Traceback (most recent call last):\n"
    assert lines[-1] == "LookupError: the secret text of an exception\n"


def test_no_token_password_or_message_is_in_the_log(events: Server, ann: User):
    secret = secrets.token_hex(16)
    with Socket(events, f"channel {secret}", auth=ann.token) as socket:
        for token in (ann.token, f"Bearer {secret}"):
            socket.send({"type": "change_user", "token": token})
        socket.send({"type": "channel", "channel_ids": [socket.channel_id], "data": {"text": secret}})
        socket.send({"type": "user", "root_ids": [secret], "data": {}})
        socket.send({"type": "walker", "walker": secret})
        socket.send(secret)
        socket.send({"type": "change_user", "token": ann.token})
        socket.send({"type": "walker", "walker": "typed", "context": {"val": secret}})
        while "int_parsing" not in str(socket.receive()):
            pass
    call(events, "POST", "/user/login", {"email": ann.email, "password": secret})
    call(events, "POST", "/walker/typed", {"val": secret}, ann.token)
    call(events, "POST", "/walker/typed", {"val": 1}, secret)
    log = events.log_text()

    assert log
    for text in (secret, ann.token, PASSWORD):
        assert text not in log
