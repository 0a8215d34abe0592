"""The socket as the page describes it: connection frame, targets, order, self-delivery, change_user."""

from __future__ import annotations

import json
import re
import secrets

import pytest

from tests.events.client import PUBLIC, Socket, User, last_line
from tests.services.server import Server


def channel() -> str:
    """A channel that no other test uses."""
    return f"tea room {secrets.token_hex(4)}/ü"


def test_the_first_frame_names_the_connection(events: Server):
    with Socket(events) as socket:
        assert re.fullmatch(r"\d{10}:[0-9a-f]{32}", socket.client_id)
        assert re.fullmatch(r"\d{10}:[0-9a-f]{32}", socket.channel_id)
        assert socket.root_id == PUBLIC
        assert set(socket.hello) == {"client_id", "root_id", "channel_id"}


def test_frames_are_compact_json_with_the_documented_keys(events: Server):
    with Socket(events, channel="x") as socket:
        socket.send({"type": "connection"})
        client = socket.client_id
        assert socket.text() == (
            f'{{"type":"connection","data":{{"client_id":"{client}","root_id":"{PUBLIC}","channel_id":"x"}}}}'
        )


def test_a_channel_asked_for_is_the_channel_and_an_empty_one_is_none(events: Server):
    name = channel()
    with Socket(events, channel=name) as one, Socket(events, channel="") as two:
        assert one.channel_id == name
        assert two.channel_id != ""


def test_every_socket_has_a_client_id_of_its_own(events: Server):
    with Socket(events) as one, Socket(events) as two:
        assert one.client_id != two.client_id
        assert one.channel_id != two.channel_id


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER {}", "{}"])
def test_a_token_in_the_query_authenticates(events: Server, ann: User, form: str):
    with Socket(events, auth=form.format(ann.token)) as socket:
        assert socket.root_id == ann.root_id


def test_a_token_in_the_header_authenticates(events: Server, ann: User):
    with Socket(events, token=ann.token) as socket:
        assert socket.root_id == ann.root_id


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "x" * 16_000])
def test_a_bad_token_makes_the_socket_public_without_an_error(events: Server, token: str):
    with Socket(events) as socket:
        assert socket.change_user(token) == PUBLIC
    with Socket(events, token=token[:8000], auth=token[:4000]) as socket:
        assert socket.root_id == PUBLIC
        assert socket.pending() == []


@pytest.mark.parametrize("where", ["token", "auth"])
def test_a_token_of_16_kb_at_the_handshake_makes_the_socket_public(events: Server, where: str):
    with Socket(events, **{where: "x" * 16_384}) as socket:
        assert socket.root_id == PUBLIC
        assert socket.pending() == []


@pytest.mark.parametrize("kind", ["channel", "user", "client"])
def test_data_arrives_verbatim_and_at_the_sender_too(events: Server, ann: User, kind: str):
    name = channel()
    data = {"type": "chat", "data": {"ä": [1, 2.5, None, True, "\u2028"], "": {}}}
    with Socket(events, name, ann.token) as sender, Socket(events, name, ann.token) as other:
        ids = {
            "channel": ("channel_ids", [name]),
            "user": ("root_ids", [ann.root_id]),
            "client": ("client_ids", [sender.client_id, other.client_id]),
        }
        key, targets = ids[kind]
        sender.send({"type": kind, key: targets, "data": data})

        assert sender.receive() == data
        assert other.receive() == data


def test_a_public_socket_may_send_to_channels_users_and_clients(events: Server, ann: User):
    name = channel()
    with Socket(events, name, ann.token) as target, Socket(events) as public:
        public.send({"type": "channel", "channel_ids": [name], "data": {"n": 1}})
        public.send({"type": "user", "root_ids": [ann.root_id], "data": {"n": 2}})
        public.send({"type": "client", "client_ids": [target.client_id], "data": {"n": 3}})
        assert public.pending() == []

        assert [frame["n"] for frame in target.pending()] == [1, 2, 3]


def test_repeated_ids_deliver_repeatedly_and_unknown_ones_are_skipped(events: Server):
    with Socket(events, channel()) as socket:
        ids = [socket.channel_id, "nobody is here", socket.channel_id]
        socket.send({"type": "channel", "channel_ids": ids, "data": {"x": 1}})
        ids = ["0:0", socket.client_id, socket.client_id, socket.client_id]
        socket.send({"type": "client", "client_ids": ids, "data": {"y": 1}})
        socket.send(
            {"type": "user", "root_ids": ["n::" + "f" * 24, "e::" + "0" * 23 + "1"], "data": {"z": 1}}
        )

        assert socket.pending() == [{"x": 1}] * 2 + [{"y": 1}] * 3


def test_the_public_root_reaches_every_unauthenticated_socket_and_no_other(events: Server, ann: User):
    with Socket(events) as one, Socket(events) as two, Socket(events, token=ann.token) as user:
        mark = {"mark": secrets.token_hex(4)}
        user.send({"type": "user", "root_ids": [PUBLIC], "data": mark})
        assert mark not in user.pending()

        assert mark in one.pending()
        assert mark in two.pending()


def test_a_root_is_meant_in_any_case_and_with_any_name(events: Server, ann: User):
    with Socket(events, token=ann.token) as socket:
        mark = {"mark": secrets.token_hex(4)}
        form = f"N:Root:{ann.root_id[3:].upper()}"
        socket.send({"type": "user", "root_ids": [form], "data": mark})

        assert mark in socket.pending()


def test_a_malformed_root_is_an_error_and_reaches_nobody_at_all(events: Server, ann: User):
    with Socket(events, token=ann.token) as socket:
        mark = {"mark": secrets.token_hex(4)}
        socket.send({"type": "user", "root_ids": [ann.root_id, "bogus"], "data": mark})
        (frame,) = socket.pending()

        assert frame == {"error": ["ValueError: [bogus] is not a valid reference!\n"]}


def test_order_is_kept_from_one_sender_over_all_kinds(events: Server, ann: User):
    name = channel()
    with Socket(events, name, ann.token) as socket, Socket(events) as sender:
        for number in range(100):
            event = [
                {"type": "channel", "channel_ids": [name]},
                {"type": "user", "root_ids": [ann.root_id]},
                {"type": "client", "client_ids": [socket.client_id]},
            ][number % 3]
            sender.send(event | {"data": {"number": number, "for": name}})
        sender.pending()

        mine = [frame["number"] for frame in socket.pending() if frame.get("for") == name]
        assert mine == list(range(100))


def test_change_user_moves_the_socket_and_keeps_its_ids(events: Server, ann: User, bob: User):
    with Socket(events, channel()) as socket, Socket(events) as sender:
        before = socket.hello
        assert socket.change_user(f"Bearer {ann.token}") == ann.root_id
        assert {**socket.hello, "root_id": PUBLIC} == before
        assert socket.change_user(bob.token) == bob.root_id
        mark = secrets.token_hex(4)
        for root in (ann.root_id, bob.root_id, PUBLIC):
            sender.send({"type": "user", "root_ids": [root], "data": {"mark": mark, "root": root}})
        sender.pending()

        mine = [frame["root"] for frame in socket.pending() if frame.get("mark") == mark]
        assert mine == [bob.root_id]


@pytest.mark.parametrize("token", [None, "", "nonsense", "Bearer nonsense"])
def test_change_user_without_a_valid_token_logs_out(events: Server, ann: User, token: str | None):
    """Also on a socket that was authenticated by header, where the original falls back to it."""
    with Socket(events, token=ann.token) as socket:
        assert socket.change_user(token) == PUBLIC
        assert socket.walk("whoami")["error"] == "Event whoami requires to be authenticated!"


def test_nobody_is_told_when_a_socket_leaves(events: Server):
    name = channel()
    with Socket(events, name) as stays:
        with Socket(events, name) as goes:
            gone = goes.client_id
        stays.send({"type": "client", "client_ids": [gone], "data": {"x": 1}})

        assert stays.pending() == []


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ("{", "json.decoder.JSONDecodeError"),
        ("", "json.decoder.JSONDecodeError"),
        (b"\x00\xff", "KeyError: 'text'"),
        (b'{"type":"connection"}', "KeyError: 'text'"),
        ("[" * 60_000, "json.decoder.JSONDecodeError"),
        (
            json.dumps(
                {"type": "channel", "channel_ids": ["c"], "data": {"x": json.loads("[" * 400 + "]" * 400)}}
            ),
            "ValueError: nested deeper",
        ),
        ('{"type": "user", "root_ids": ["n::\\u0000"], "data": {}}', "ValueError: [n::\x00]"),
    ],
    ids=["malformed", "empty", "binary", "binary JSON", "brackets", "deep", "NUL"],
)
def test_bad_input_is_answered_and_the_socket_stays(events: Server, sent: str | bytes, answer: str):
    with Socket(events) as socket:
        assert last_line(socket.ask(sent)).startswith(answer)
        assert socket.pending() == []


@pytest.mark.parametrize(
    "sent",
    [
        "[]",
        "3",
        '"x"',
        "null",
        '{"type": "nope"}',
        '{"type": ["walker"]}',
        '{"type": "walker", "walker": {}}',
    ],
)
def test_a_frame_that_is_no_event_is_answered_with_validation_items(events: Server, sent: str):
    with Socket(events) as socket:
        (item, *_) = socket.ask(sent)["error"]

        assert item["loc"][0] == "event"
        assert socket.pending() == []


@pytest.mark.parametrize("name", ["x" * 256, "a\x00b", "a\nb"])
def test_a_channel_id_that_cannot_be_kept_is_refused_after_the_connection_frame(events: Server, name: str):
    with Socket(events, channel=name) as socket:
        assert socket.channel_id != name
        assert last_line(socket.receive()).startswith("ValueError: a channel_id")
        assert socket.pending() == []


def test_a_page_of_another_site_may_not_open_a_socket(events: Server):
    with pytest.raises(Exception, match="403"):
        Socket(events, origin="https://evil.example")
    with Socket(events, origin=events.url):
        pass
