"""Access tokens and API keys on `/websocket`: who is let in, what each allows, changes of user, expiry."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.events.client import PUBLIC, SECONDS, Socket, User, call, ending_in, people
from tests.events.conftest import Launch
from tests.services.issuing import add_issuer, add_key, bad_tokens, token
from tests.services.server import Server
from tests.services.short_lived import let_in
from tests.services.waiting import wait_until

BAD = ("expired", "unknown issuer", "other secret", "not a JWT")
ROOT = "n::" + "a" * 24

Join = Callable[..., Socket]


@pytest.fixture(scope="module")
def bounded(launch: Launch) -> Iterator[Server]:
    """A server whose clients need a credential."""
    with launch(EVENTS_ACCESS="token") as server:
        add_issuer(server)
        yield server


@pytest.fixture(scope="module")
def open_to_all(events: Server) -> Server:
    """A server as it comes, with an issuer."""
    add_issuer(events)
    return events


@pytest.fixture(scope="module")
def user(bounded: Server) -> User:
    return people(bounded, 1)[0]


@pytest.fixture
def join() -> Iterator[Join]:
    """Open sockets, which leave with the test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(Socket(*arguments, **options))


@pytest.fixture
def channel() -> str:
    return secrets.token_hex(4)


def status(server: Server, headers: dict[str, str] | None = None, **query: str) -> int | str:
    """The root id that a handshake is answered with, or the status that refuses it."""
    url = f"{server.ws_url}/websocket?{urlencode(query)}"
    try:
        with connect(url, additional_headers=headers or {}, open_timeout=SECONDS, proxy=None) as socket:
            root: str = json.loads(socket.recv(SECONDS))["data"]["root_id"]
            return root
    except InvalidStatus as error:
        return error.response.status_code


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


def forbidden(server: Server) -> float:
    """Everything of this protocol that was refused as forbidden, until now."""
    line = 'switchboard_refused_total{protocol="events",reason="forbidden"} '
    text = call(server, "GET", "/metrics", headers={"X-API-Key": server.api_key}).body
    return sum(float(one.removeprefix(line)) for one in text.splitlines() if one.startswith(line))


# --- handshakes ------------------------------------------------------------------------------------------


def test_a_server_that_needs_a_credential_takes_each_kind_from_each_place(
    bounded: Server, user: User
) -> None:
    good, key = token(), bounded.api_key
    assert status(bounded, bearer(good)) == PUBLIC
    assert status(bounded, access_token=good) == PUBLIC
    assert status(bounded, bearer(key)) == PUBLIC
    assert status(bounded, {"X-API-Key": key}) == PUBLIC
    assert status(bounded, key=key) == PUBLIC
    assert status(bounded, bearer(user.token)) == user.root_id
    assert status(bounded, auth=user.token) == user.root_id
    assert status(bounded, {"Authorization": f"Basic YTpi, Bearer {good}"}) == PUBLIC
    assert status(bounded) == 403
    assert status(bounded, channel_id="x") == 403


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused_where_one_is_needed(bounded: Server, name: str) -> None:
    bad = bad_tokens()[name]
    assert status(bounded, bearer(bad)) == 403
    assert status(bounded, auth=bad) == 403
    assert status(bounded, access_token=bad) == 403


@pytest.mark.parametrize("name", BAD)
def test_where_all_are_let_in_a_bad_header_makes_it_the_public(open_to_all: Server, name: str) -> None:
    bad = bad_tokens()[name]
    assert status(open_to_all, bearer(bad)) == PUBLIC
    assert status(open_to_all, auth=bad) == PUBLIC
    assert status(open_to_all, access_token=bad) == 403
    assert status(open_to_all, key=bad) == 403


def test_a_login_token_that_has_ended_is_no_credential(bounded: Server, user: User) -> None:
    assert status(bounded, bearer(ending_in(-60, user.token))) == 403


def test_where_all_are_let_in_a_token_is_known_and_limits_nothing(
    open_to_all: Server, join: Join, channel: str
) -> None:
    known = join(open_to_all, channel, token=token(sub="ann"))
    other = join(open_to_all, channel)
    assert known.pending() == other.pending() == []
    known.send({"type": "channel", "channel_ids": [channel], "data": {"n": 1}})
    assert (known.receive(), other.receive()) == ({"n": 1}, {"n": 1})
    wait_until(lambda: "ann" in _identities(open_to_all))


def _identities(server: Server) -> list[str]:
    """Those of the clients that are listed; a row follows its connection."""
    clients = call(server, "GET", "/api/clients/?protocol=events", headers=_key(server)).body
    return [one["identity"] for one in clients["results"]]


def _key(server: Server) -> dict[str, str]:
    return {"X-API-Key": server.api_key}


# --- rights ----------------------------------------------------------------------------------------------


def test_the_channel_needs_subscribe(bounded: Server, join: Join, channel: str) -> None:
    address = f"channel:{channel}"
    sender = join(bounded, "", token=token([], [address]))
    allowed = join(bounded, channel, token=token([address]))
    refused = join(bounded, channel, token=token([f"{address}x"], ["*"]))
    by_key = join(bounded, channel, token=add_key(bounded, "limited", ["read"], [address]))
    assert allowed.pending() == by_key.pending() == []
    refusal = {"type": "channel", "error": f"You don't have access on target channel {channel}!"}
    assert refused.pending() == [refusal]
    sender.pending()  # it has not the channel of its own either
    sender.send({"type": "channel", "channel_ids": [channel], "data": {"n": 1}})
    assert sender.pending() == []
    assert allowed.pending() == by_key.pending() == [{"n": 1}]
    assert refused.pending() == []


def test_what_may_not_be_sent_to_is_skipped_and_counted(
    bounded: Server, join: Join, user: User, channel: str
) -> None:
    receiver = join(bounded, channel, token=token(["channel:*"]))
    person = join(bounded, channel, token=user.token)
    allowed = [f"channel:{channel}", f"user:{user.root_id}", f"client:{receiver.client_id}"]
    sender = join(bounded, f"{channel}-own", token=token(["channel:*"], allowed))
    events: list[tuple[str, str, list[str], str]] = [
        ("channel", "channel_ids", ["other", channel], "other"),
        ("user", "root_ids", [ROOT, user.root_id], ROOT),
        ("client", "client_ids", [person.client_id, receiver.client_id], person.client_id),
    ]
    before = forbidden(bounded)
    for kind, field, ids, name in events:
        answer = sender.ask({"type": kind, field: ids, "data": {"to": kind}})
        assert answer == {"type": kind, "error": f"You don't have access on target {kind} {name}!"}
    assert forbidden(bounded) - before == len(events)
    assert receiver.pending() == [{"to": "channel"}, {"to": "client"}]
    assert person.pending() == [{"to": "channel"}, {"to": "user"}]


def test_a_client_reaches_itself(bounded: Server, join: Join) -> None:
    socket = join(bounded, "", token=token(["*"]))
    event = {"type": "client", "client_ids": [socket.client_id], "data": {"n": 1}}
    assert socket.ask(event) == {"n": 1}


def test_a_login_has_the_rights_that_settings_give(
    bounded: Server, join: Join, user: User, channel: str
) -> None:
    person, other = join(bounded, channel, token=user.token), join(bounded, channel, token=token(["*"]))
    assert person.pending() == []
    person.send({"type": "channel", "channel_ids": [channel], "data": {"n": 1}})
    assert (person.receive(), other.receive()) == ({"n": 1}, {"n": 1})


def test_a_walker_needs_a_login_as_before(bounded: Server, join: Join, user: User) -> None:
    socket = join(bounded, "", token=token(["*"], ["*"]))
    assert "error" in socket.walk("whoami")
    assert "error" not in join(bounded, "", token=user.token).walk("whoami")


def test_history_of_the_channel_needs_subscribe(launch: Launch, join: Join, channel: str) -> None:
    with launch(EVENTS_ACCESS="token", HISTORY_SIZE="10") as server:
        add_issuer(server)
        join(server, "", token=token([], ["*"])).ask(
            {"type": "channel", "channel_ids": [channel, "no"], "data": {"n": 1}}
        )
        url = f"{server.ws_url}/websocket?channel_id={channel}&last=5&access_token="
        for subscribe, received in ((["*"], {"n": 1}), ([], "channel")):
            with connect(url + token(subscribe), proxy=None, open_timeout=SECONDS) as socket:
                socket.recv(SECONDS)
                frame: Any = json.loads(socket.recv(SECONDS))
                assert received in (frame, frame.get("type"))


# --- change_user -----------------------------------------------------------------------------------------


def test_change_user_takes_an_access_token(bounded: Server, join: Join, user: User, channel: str) -> None:
    address = f"channel:{channel}"
    socket = join(bounded, channel, token=user.token)
    assert socket.change_user(token([address], [address])) == PUBLIC
    socket.send({"type": "channel", "channel_ids": [channel], "data": {"n": 1}})
    assert socket.receive() == {"n": 1}
    assert socket.change_user(user.token) == user.root_id


@pytest.mark.parametrize("change", [None, "expired"])
def test_change_user_to_nobody_leaves_no_rights(
    bounded: Server, join: Join, channel: str, change: str | None
) -> None:
    socket = join(bounded, channel, token=token(["*"], ["*"]))
    other = join(bounded, channel, token=token(["*"], ["*"]))
    socket.change_user(bad_tokens()[change] if change else None)
    assert [frame["type"] for frame in socket.pending()] == ["channel"]
    other.ask({"type": "channel", "channel_ids": [channel], "data": {"n": 1}})
    assert "error" in socket.ask({"type": "channel", "channel_ids": [channel], "data": {"n": 2}})
    assert other.pending() == []


# --- the end ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["bounded", "open_to_all"])
def server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server


def test_a_token_that_expires_ends_its_socket_unless_it_is_replaced(
    server: Server, join: Join, channel: str
) -> None:
    def enter(end: float) -> tuple[Socket, Socket]:
        replaced, ending = (join(server, channel, token=token(["*"], exp=int(end))) for _ in range(2))
        replaced.change_user(token(["*"]))
        assert replaced.pending() == ending.pending() == []
        return replaced, ending

    replaced, ending = let_in(enter)
    assert ending.close_code() == 4005
    assert replaced.pending() == []


def test_a_login_that_expires_ends_its_socket_where_a_credential_is_needed(
    launch: Launch, join: Join
) -> None:
    with launch(EVENTS_ACCESS="token", EVENTS_EXPIRED_SOCKETS="public") as server:
        user = people(server, 1)[0]
        socket = let_in(lambda end: join(server, token=ending_in(end - time.time(), user.token)))
        assert socket.root_id == user.root_id
        assert socket.close_code() == 4005
