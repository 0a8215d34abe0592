"""The console's socket: who is let in, which topics they see, and when that ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from routing_app.console.topics import TOPICS, Followed
from tests.console.conftest import Open
from tests.monitoring.console import Console, Refused
from tests.services.databases import sql
from tests.services.server import Server

GUARDED = [name for name, topic in TOPICS.items() if topic.permissions]


def shake(broker: Server, origin: str | None, cookie: str) -> int:
    """The status of a handshake."""
    headers = {"Cookie": cookie} if cookie else {}
    page = None if origin is None else Origin(origin)
    try:
        with connect(
            f"{broker.ws_url}/console/socket",
            origin=page,
            additional_headers=headers,
            proxy=None,
        ):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def frames(console: Console, wanted: int) -> list[dict[str, Any]]:
    """The next frames as they are."""
    return [json.loads(console.socket.recv(timeout=60)) for _ in range(wanted)]


def send(console: Console, **frame: Any) -> None:
    console.socket.send(json.dumps(frame))


def test_only_a_page_of_the_server_with_a_session_of_staff_is_let_in(
    broker: Server, sessions: dict[str, str]
) -> None:
    cookie = f"theme=dark; sessionid={sessions['nothing']}"

    assert shake(broker, broker.url, cookie) == 101
    assert shake(broker, broker.url, "") == 403
    assert shake(broker, broker.url, "sessionid=wrong") == 403
    assert shake(broker, "https://evil.example", cookie) == 403
    assert shake(broker, "null", cookie) == 403
    assert shake(broker, None, cookie) == 403


@pytest.mark.parametrize("topic", GUARDED)
def test_a_topic_needs_its_permission(console: Open, topic: str) -> None:
    with pytest.raises(Refused) as refused:
        console("nothing").ask(topic)

    assert refused.value.status == 403


ASKED = [name for name, topic in TOPICS.items() if not isinstance(topic, Followed) and name != "connection"]


@pytest.mark.parametrize("topic", ASKED)
def test_a_superuser_sees_every_topic(console: Open, topic: str) -> None:
    params = {"address": "token:abc"} if topic == "address" else {}

    assert console("root").ask(topic, **params)


@pytest.mark.parametrize(
    ("topic", "params", "status"),
    [
        ("nothing", {}, 404),
        ("connection", {"id": "0" * 28}, 404),
        ("connections", {"sort": "colour"}, 400),
        ("connections", {"page": 0}, 400),
        ("connections", {"size": 10**6}, 400),
        ("connections", {"network": "here"}, 400),
        ("address", {"address": "no kind"}, 400),
    ],
)
def test_a_wrong_question_is_told(console: Open, topic: str, params: dict[str, Any], status: int) -> None:
    with pytest.raises(Refused) as refused:
        console("root").ask(topic, **params)

    assert refused.value.status == status
    assert refused.value.detail


def test_what_is_not_of_the_protocol_ends_the_connection(console: Open) -> None:
    open_one = console("nothing")
    open_one.socket.send("[]")

    with pytest.raises(ConnectionClosed) as closed:
        open_one.socket.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4009


def test_a_watch_goes_on_until_it_is_stopped(console: Open) -> None:
    open_one = console("nothing")
    send(open_one, id=1, topic="overview", watch=True)

    first, second = frames(open_one, 2)
    assert (first["id"], second["id"]) == (1, 1)
    assert "past" in first["data"]
    assert "past" not in second["data"]

    send(open_one, id=1, stop=True)
    send(open_one, id=2, topic="overview", watch=True)
    while frames(open_one, 1)[0]["id"] != 2:
        pass
    assert [one["id"] for one in frames(open_one, 3)] == [2, 2, 2]


def test_the_same_id_replaces_a_watch(console: Open) -> None:
    open_one = console("root")
    send(open_one, id=7, topic="overview", watch=True)
    assert "totals" in frames(open_one, 1)[0]["data"]

    send(open_one, id=7, topic="connections", params={"size": 1}, watch=True)
    while "rows" not in frames(open_one, 1)[0]["data"]:
        pass
    assert all("rows" in one["data"] for one in frames(open_one, 2))


def test_a_question_is_answered_once(console: Open) -> None:
    open_one = console("nothing")
    send(open_one, id=1, topic="overview")
    send(open_one, id=2, topic="overview", watch=True)

    while frames(open_one, 1)[0]["id"] != 1:  # the other one may be read several times before it
        pass
    assert [one["id"] for one in frames(open_one, 3)] == [2, 2, 2]


def test_no_more_than_some_topics_are_watched_at_once(console: Open) -> None:
    open_one = console("nothing")
    for id in range(33):
        send(open_one, id=id, topic="overview", watch=True)

    while "error" not in (frame := frames(open_one, 1)[0]):
        pass
    assert (frame["id"], frame["error"]["status"]) == (32, 400)


def test_a_permission_that_is_taken_away_ends_its_topics_alone(broker: Server, console: Open) -> None:
    open_one = console("loses")
    send(open_one, id=1, topic="connections", watch=True)
    send(open_one, id=2, topic="overview", watch=True)
    shown: set[int] = set()
    while shown != {1, 2}:  # of one that is read every second there may be two before the first of the other
        shown |= {one["id"] for one in frames(open_one, 1)}

    of_user = "user_id = (SELECT id FROM auth_user WHERE username = %s)"
    sql(broker.database_url, f"DELETE FROM auth_user_user_permissions WHERE {of_user}", "loses")

    while "error" not in (frame := frames(open_one, 1)[0]):
        pass
    assert (frame["id"], frame["error"]["status"]) == (1, 403)
    assert {one["id"] for one in frames(open_one, 3)} == {2}
    with pytest.raises(Refused):
        open_one.ask("connections")


ENDINGS = {
    "leaves": "UPDATE auth_user SET is_staff = '0' WHERE username = %s",
    "ends": "DELETE FROM django_session WHERE session_key = %s",
}


def test_a_console_ends_with_its_session(broker: Server, console: Open, sessions: dict[str, str]) -> None:
    opened = {name: console(name) for name in ENDINGS}
    for name, statement in ENDINGS.items():
        sql(broker.database_url, statement, name if "username" in statement else sessions[name])

    for open_one in opened.values():
        with pytest.raises(ConnectionClosed) as closed:
            open_one.socket.recv(timeout=60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4005


def test_consoles_are_not_among_the_clients(console: Open) -> None:
    console("nothing")
    open_one = console("root")

    assert "console" not in open_one.ask("connections")["by_protocol"]
    assert "connections.console" not in open_one.ask("overview")["totals"]
