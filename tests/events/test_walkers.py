"""Walkers over the socket: fields, refusals, order, failures, floods and hangs."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import Any

import pytest

from routing_app.events.wire import UNAVAILABLE
from tests.events.client import PUBLIC, Socket, User, last_line
from tests.services.server import Server
from tests.services.waiting import wait_until

INTERNAL = {"error": ["Internal error\n"]}


def test_a_walker_answers_with_the_bare_envelope_when_asked(events: Server, ann: User):
    with Socket(events, token=ann.token) as socket:
        socket.send({"type": "walker", "walker": "typed", "context": {"val": 1}, "response": True})
        assert socket.text() == '{"status":200,"reports":[{"val":1,"text":"x","when":null,"tags":[]}]}'
        socket.send({"type": "walker", "walker": "typed", "context": {"val": 1}})
        assert socket.pending() == []


def test_an_id_of_the_client_comes_back(events: Server, ann: User):
    with Socket(events, token=ann.token) as socket:
        assert socket.walk("typed", {"val": 1}, id="one")["id"] == "one"
        assert socket.walk("typed", {}, id=2)["id"] == 2
        assert socket.walk("nope", {}, id=[3])["id"] == [3]
        assert socket.walk("raise_secret", {}, id={"four": 4})["id"] == {"four": 4}


def test_fields_are_converted_and_unknown_ones_ignored(events: Server, ann: User):
    with Socket(events, token=ann.token) as socket:
        context = {"val": "7", "when": "2026-11-20", "tags": ["a"], "more": 1}
        assert socket.walk("typed", context)["reports"] == [
            {"val": 7, "text": "x", "when": "2026-11-20", "tags": ["a"]}
        ]


@pytest.mark.parametrize(
    ("context", "type", "loc"),
    [
        ({}, "missing", ["val"]),
        ({"val": "x"}, "int_parsing", ["val"]),
        ({"val": 1, "tags": [1]}, "string_type", ["tags", 0]),
    ],
)
def test_wrong_fields_are_validation_items_without_the_event_prefix(
    events: Server, ann: User, context: dict[str, Any], type: str, loc: list[Any]
):
    with Socket(events, token=ann.token) as socket:
        socket.send({"type": "walker", "walker": "typed", "context": context})
        (item,) = socket.receive()["error"]

        assert (item["type"], item["loc"]) == (type, loc)


@pytest.mark.parametrize("name", ["without_database", "without_database_async"])
def test_a_walker_without_the_database_says_so(events: Server, ann: User, name: str):
    with Socket(events, token=ann.token) as socket:
        assert socket.walk(name) == {"error": [UNAVAILABLE]}


@pytest.mark.parametrize("name", ["nope", "only_post", "store", "__init__", ""])
def test_unknown_walkers_and_those_without_websocket_are_refused(events: Server, ann: User, name: str):
    with Socket(events, token=ann.token) as socket:
        expected = {"type": "walker", "error": "Invalid request! Please use valid walker event!"}
        assert socket.walk(name) == expected


def test_walkers_know_the_public_from_users(events: Server, ann: User):
    with Socket(events) as public, Socket(events, token=ann.token) as user:
        assert public.walk("typed", {"val": 1}) == {
            "type": "walker",
            "error": "Event typed requires to be authenticated!",
        }
        assert user.walk("public") == {
            "type": "walker",
            "error": "Event public requires to be unauthenticated!",
        }
        assert public.walk("public") == {"status": 200, "reports": [{"root_id": PUBLIC}]}
        public.change_user(ann.token)
        public.change_user(None)
        assert public.walk("public") == {"status": 200, "reports": [{"root_id": PUBLIC}]}


def test_the_call_names_its_caller(events: Server, ann: User):
    with Socket(events, "here", ann.token) as socket:
        assert socket.walk("whoami")["reports"] == [
            {
                "root_id": ann.root_id,
                "client_id": socket.client_id,
                "channel_id": "here",
                "node": ann.root_id,
                "here": None,
            }
        ]


def test_the_user_s_row_is_at_hand(events: Server, ann: User):
    with Socket(events, token=ann.token) as socket:
        assert socket.walk("email")["reports"] == [ann.email]


def test_nodes_own_found_missing_malformed_and_of_others(events: Server, ann: User, bob: User):
    with Socket(events, token=ann.token) as socket:
        task = "n:Task:" + "0" * 22 + "aa"
        assert socket.walk("whoami", node=ann.root_id.upper())["status"] == 200
        assert socket.walk("whoami", node=task)["reports"][0]["here"] == {"task": task[7:]}
        for missing in ("bogus", "n:Task:" + "0" * 24, "n:Other:" + "0" * 22 + "aa", "e::" + "0" * 24):
            answer = socket.walk("whoami", node=missing)
            assert answer == {"error": [f"ValueError: [{missing}] is not a valid reference!\n"]}
        foreign = "n:Task:" + "0" * 22 + "bb"
        for node in (bob.root_id, foreign):
            assert socket.walk("whoami", node=node) == {
                "type": "walker",
                "error": f"You don't have access on target entry {node}!",
            }


@pytest.mark.parametrize("name", ["narrate", "narrate_async"])
def test_notifications_arrive_before_the_response_in_order(events: Server, ann: User, name: str):
    with Socket(events, secrets.token_hex(4), ann.token) as socket:
        socket.send({"type": "walker", "walker": name, "response": True, "context": {"number": 20}})
        frames = [socket.receive() for _ in range(41)]

        told = [{key: index} for index in range(20) for key in ("step", "step on channel")]
        assert frames == [*told, {"status": 200, "reports": ["told"]}]


@pytest.mark.parametrize("name", ["tell", "tell_async"])
def test_every_kind_of_notification_reaches_its_sockets_once_per_id(
    events: Server, ann: User, bob: User, name: str
):
    room = secrets.token_hex(4)
    with Socket(events, room, ann.token) as one, Socket(events, room, bob.token) as two:
        context = {
            "root_ids": [bob.root_id, bob.root_id],
            "channel_ids": [room, "nobody"],
            "client_ids": [two.client_id],
            "data": {"mark": room},
        }
        one.send({"type": "walker", "walker": name, "response": True, "context": context})

        assert [one.receive(), one.receive()] == [{"mark": room}, {"status": 200, "reports": []}]
        assert two.pending().count({"mark": room}) == 4


def test_a_long_walker_holds_up_its_own_socket_s_events_and_nothing_else(events: Server, ann: User):
    room = secrets.token_hex(4)
    with Socket(events, room, ann.token) as busy, Socket(events, token=ann.token) as other:
        busy.send({"type": "walker", "walker": "wait_for", "response": True, "context": {"channel_id": room}})
        assert busy.receive() == {"waits": room}
        busy.send({"type": "connection"})
        other.send({"type": "channel", "channel_ids": [room], "data": {"while": "waiting"}})
        assert busy.receive() == {"while": "waiting"}
        other.walk("release", {"channel_id": room})

        assert busy.receive() == {"status": 200, "reports": ["released"]}
        assert busy.receive()["type"] == "connection"


@pytest.mark.parametrize("name", ["raise_secret", "raise_secret_async", "report_odd"])
def test_a_walker_that_raises_is_an_internal_error_without_a_traceback(events: Server, ann: User, name: str):
    with Socket(events, token=ann.token) as socket:
        assert socket.walk(name) == INTERNAL
        assert socket.pending() == []


@pytest.mark.parametrize("name", ["stop_iteration", "leave", "leave_async", "await_cancelled"])
def test_a_walker_that_ends_as_no_walker_should_leaves_server_socket_and_thread(
    events: Server, ann: User, name: str
):
    with Socket(events, token=ann.token) as socket:
        for _ in range(12):  # more than there are threads
            assert socket.walk(name) == INTERNAL
        assert socket.walk("typed", {"val": 1})["status"] == 200


def test_a_division_by_zero_is_one_too(events: Server, ann: User):
    with Socket(events, token=ann.token) as socket:
        assert socket.walk("divide", {"a": 1, "b": 0}) == INTERNAL
        assert socket.walk("divide", {"a": 1, "b": 2})["reports"] == [0.5]


@pytest.mark.parametrize("name", ["hang", "hang_async"])
def test_a_walker_that_hangs_is_ended_and_the_socket_stays(hasty: Server, hasty_user: User, name: str):
    with Socket(hasty, token=hasty_user.token) as socket:
        assert socket.walk(name) == {"error": ["TimeoutError: the walker ran longer than 1 s\n"]}
        wait_until(lambda: "status" in socket.walk("typed", {"val": 1}))


def test_walkers_that_hang_keep_nobody_else_from_the_database(hasty: Server, hasty_user: User):
    """More of them than there are threads."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(Socket(hasty, token=hasty_user.token)) for _ in range(12)]
        for socket in sockets:
            socket.send({"type": "walker", "walker": "hang"})
        with Socket(hasty) as other:
            assert other.change_user(hasty_user.token) == hasty_user.root_id
        for socket in sockets:
            assert last_line(socket.receive()).startswith("TimeoutError")
        # The threads are still asleep at first.
        wait_until(lambda: "status" in sockets[0].walk("typed", {"val": 1}))


@pytest.mark.parametrize("name", ["flood", "flood_async"])
def test_a_walker_that_floods_is_stopped_and_the_socket_stays(events: Server, ann: User, name: str):
    with Socket(events, token=ann.token) as socket:
        socket.send({"type": "walker", "walker": name, "response": True, "context": {"number": 1_000_000}})
        frames = socket.pending()

        assert frames[:-1] == [{"flood": index} for index in range(100)]
        assert frames[-1] == {"error": ["TooManyNotifications: more than 100 notifications\n"]}


def test_a_response_too_large_to_send_is_an_error_and_the_socket_stays(events: Server, ann: User):
    with Socket(events, token=ann.token) as socket:
        assert "too many to send" in socket.walk("report_much", {"size": 2**20})["error"][0]
        assert "too many to send" in socket.walk("report_much", {"size": 2**18, "letter": "€"})["error"][0]
        assert socket.walk("report_much", {"size": 2**18})["status"] == 200


@pytest.mark.parametrize("name", ["notify_much", "notify_much_async"])
def test_a_notification_too_large_to_send_is_an_error_and_every_socket_stays(
    events: Server, ann: User, name: str
):
    room = secrets.token_hex(4)
    with Socket(events, room, ann.token) as socket, Socket(events, room) as other:
        error = socket.walk(name, {"channel_id": room, "size": 2**19})["error"][0]
        assert error == "TooLarge: a notification of 524296 bytes; at most 524288\n"
        assert other.pending() == []
        socket.walk(name, {"channel_id": room, "size": 2**18})
        assert len(other.receive()["x"]) == 2**18


@pytest.mark.parametrize("name", ["make_group", "make_group_async"])
def test_walkers_use_the_orm_and_a_signal_s_notification_comes_first(events: Server, ann: User, name: str):
    group = secrets.token_hex(6)
    with Socket(events, f"group {group}", ann.token) as socket:
        socket.send({"type": "walker", "walker": name, "response": True, "context": {"name": group}})

        assert socket.receive() == {"group": group}
        assert socket.receive() == {"status": 200, "reports": [1]}


def test_the_example_s_walkers_chat_with_a_user_a_group_and_a_client(events: Server, ann: User, bob: User):
    chat = {"type": "chat", "data": {"message": "string"}}
    room = secrets.token_hex(4)
    with Socket(events, room, ann.token) as here, Socket(events, room, bob.token) as there:
        here.walk("send_chat_to_user", {"root_id": bob.root_id})
        assert there.pending() == [chat]
        here.send({"type": "walker", "walker": "send_chat_to_group", "context": {"channel_id": room}})
        assert here.pending() == [chat]
        assert there.pending() == [chat]
        here.walk("send_chat_to_client", {"client_id": there.client_id})
        assert there.pending() == [chat]
