"""Permissions to send and to listen."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from routing_app.events import access
from routing_app.events.access import ChannelRule, ChannelRules
from routing_app.events.walker_context import PUBLIC as THE_PUBLIC
from routing_app.events.walker_context import Visitor
from tests.events.client import PUBLIC, Socket, User, call, people
from tests.services.server import Server
from tests.services.waiting import until, wait_until

USER = Visitor("n::" + "a" * 24, 1, "jti", 9e9)
MEMBER = Visitor("n::" + "b" * 24, 2, "jti", 9e9)


def to(kind: str, target: str) -> dict[str, Any]:
    """An event to one target."""
    key = {"channel": "channel_ids", "user": "root_ids", "client": "client_ids"}[kind]
    return {"type": kind, key: [target], "data": {"x": 1}}


def allow(server: Server, channel_id: str, **rule: Any) -> None:
    """Give a channel a row."""
    body = {"channel_id": channel_id, **rule}
    assert call(server, "POST", "/api/channels/", body, server.api_key).status == 201


@pytest.fixture(scope="module")
def carla(strict: Server) -> User:
    return people(strict, 1)[0]


def test_only_users_may_send_to_users_where_the_setting_says_so(strict: Server, carla: User):
    with Socket(strict) as public, Socket(strict, token=carla.token) as user:
        assert public.ask(to("user", carla.root_id)) == {
            "type": "user",
            "error": "Event user requires to be authenticated!",
        }
        assert user.ask(to("user", carla.root_id)) == {"x": 1}


def test_nobody_may_send_to_clients_where_the_setting_says_so(strict: Server, carla: User):
    with Socket(strict, token=carla.token) as user:
        expected = {"type": "client", "error": "Event client is not open to clients!"}
        assert user.ask(to("client", user.client_id)) == expected


def test_members_of_a_channel_without_a_row_are_those_on_it(strict: Server):
    room = secrets.token_hex(4)
    with Socket(strict, room) as inside, Socket(strict) as outside:
        assert inside.ask(to("channel", room)) == {"x": 1}
        denied = {"type": "channel", "error": f"You don't have access on target channel {room}!"}
        assert outside.ask(to("channel", room)) == denied
        assert inside.pending() == []


def test_walkers_of_the_public_run_for_everyone_where_the_setting_says_so(strict: Server, carla: User):
    with Socket(strict, token=carla.token) as user:
        assert user.walk("public")["status"] == 200


def test_members_alone_may_send_and_listen_where_the_row_says_so(events: Server, ann: User, bob: User):
    room = secrets.token_hex(4)
    allow(events, room, who_may_send="members", who_may_listen="members", members=[ann.root_id])
    denied = {"type": "channel", "error": f"You don't have access on target channel {room}!"}
    with Socket(events, room, ann.token) as member, Socket(events, room, bob.token) as other:
        assert other.receive() == denied
        assert other.ask(to("channel", room)) == denied
        assert member.ask(to("channel", room)) == {"x": 1}
        assert other.pending() == []


def test_a_socket_is_on_its_channel_as_soon_as_its_user_may(events: Server, ann: User):
    room = secrets.token_hex(4)
    allow(events, room, who_may_listen="authenticated")
    with Socket(events, room) as socket, Socket(events) as sender:
        assert socket.receive()["type"] == "channel"
        sender.send(to("channel", room))
        sender.pending()
        assert socket.pending() == []
        socket.change_user(ann.token)
        sender.send(to("channel", room))
        assert socket.receive() == {"x": 1}
        assert socket.change_user(None) == PUBLIC
        assert socket.receive()["error"].startswith("You don't have access on target channel")
        sender.send(to("channel", room))
        sender.pending()
        assert socket.pending() == []


def test_one_forbidden_target_stops_the_whole_event(events: Server):
    closed = secrets.token_hex(4)
    allow(events, closed, who_may_send="nobody")
    with Socket(events, secrets.token_hex(4)) as socket:
        ids = [socket.channel_id, closed]
        answer = socket.ask({"type": "channel", "channel_ids": ids, "data": {"x": 1}})

        assert answer["error"].endswith(f"{closed}!")
        assert socket.pending() == []


def test_a_change_of_rules_holds_on_every_worker(pair: Server):
    room = secrets.token_hex(4)
    with ExitStack() as stack:
        sockets = [stack.enter_context(Socket(pair, room)) for _ in range(8)]
        allow(pair, room, who_may_send="nobody")
        for socket in sockets:
            wait_until(partial(refuses, socket, room))


def refuses(socket: Socket, room: str) -> bool:
    """Whether a rule, which may be on its way to the socket's worker, keeps it from sending to a channel."""
    socket.send(to("channel", room))
    return any(frame.get("type") == "channel" for frame in socket.pending())


def test_a_socket_that_may_not_listen_is_off_its_channel_on_every_worker_until_it_may(pair: Server):
    room = secrets.token_hex(4)
    denied = {"type": "channel", "error": f"You don't have access on target channel {room}!"}
    with ExitStack() as stack:
        sockets = [stack.enter_context(Socket(pair, room)) for _ in range(8)]
        allow(pair, room, who_may_listen="members")
        assert [socket.receive() for socket in sockets] == [denied] * 8
        body = {"addresses": [f"channel:{room}"], "message": {"for": "members"}}
        call(pair, "POST", "/api/publish", body, pair.api_key)
        assert [socket.pending() for socket in sockets] == [[]] * 8

        call(pair, "DELETE", f"/api/channels/{room}/", token=pair.api_key)
        for socket in sockets:
            wait_until(partial(hears_itself, socket, room))


def hears_itself(socket: Socket, room: str) -> bool:
    """Whether the end of a rule, which may be on its way, lets a socket listen; it gets events alone."""
    socket.send(to("channel", room))
    frames = socket.pending()
    assert all(frame == {"x": 1} for frame in frames)
    return bool(frames)


@pytest.mark.django_db(transaction=True)
async def test_of_two_readings_of_the_rules_the_later_one_counts(monkeypatch: pytest.MonkeyPatch):
    known = ChannelRules(asyncio.ensure_future)
    first_has_begun, first_may_end = threading.Event(), threading.Event()
    rule = ChannelRule("nobody", "nobody", frozenset())
    number = itertools.count()

    def read() -> dict[str, ChannelRule]:
        if next(number):
            return {"room": rule}
        first_has_begun.set()
        first_may_end.wait(60)
        return {}

    monkeypatch.setattr(access, "_read", read)
    first = asyncio.ensure_future(known.read())
    await until(first_has_begun.is_set)  # the threads of the two begin in any order
    await known.read()
    first_may_end.set()
    await first

    assert not known.may_listen(MEMBER, "room")


@pytest.mark.parametrize(
    ("who", "public", "user", "member"),
    [
        ("everyone", True, True, True),
        ("authenticated", False, True, True),
        ("members", False, False, True),
        ("nobody", False, False, False),
    ],
)
def test_every_rule_of_a_row(who: str, public: bool, user: bool, member: bool):
    known = ChannelRules(asyncio.ensure_future)
    known.use({"room": ChannelRule(who, who, frozenset({MEMBER.root_id}))})

    for visitor, may in ((THE_PUBLIC, public), (USER, user), (MEMBER, member)):
        assert known.may_listen(visitor, "room") is may
        assert known.may_send(visitor, "room", subscribed=True) is may


def test_a_row_without_a_word_on_sending_leaves_it_to_the_setting(settings):
    known = ChannelRules(asyncio.ensure_future)
    known.use({"room": ChannelRule("", "everyone", frozenset({MEMBER.root_id}))})
    settings.EVENTS_SEND_TO_CHANNELS = "members"

    assert known.may_send(MEMBER, "room", subscribed=False)
    assert not known.may_send(USER, "room", subscribed=True)


@pytest.mark.parametrize(
    ("kind", "who"), [("user", "EVENTS_SEND_TO_USERS"), ("client", "EVENTS_SEND_TO_CLIENTS")]
)
def test_settings_for_users_and_clients(settings, kind: str, who: str):
    for value, public, user in (
        ("everyone", True, True),
        ("authenticated", False, True),
        ("nobody", False, False),
    ):
        setattr(settings, who, value)
        assert (access.may_target(kind, THE_PUBLIC), access.may_target(kind, USER)) == (public, user)
