"""Two workers on Redis: every event and notification reaches the right sockets on every worker once."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.events.client import PUBLIC, Json, Socket, User, call, people
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once  # its processes share a Redis on both stacks


@pytest.fixture(scope="module")
def dora(pair: Server) -> User:
    return people(pair, 1)[0]


@pytest.fixture
def room() -> str:
    return secrets.token_hex(4)


@pytest.fixture
def members(pair: Server, dora: User, room: str) -> Iterator[list[Socket]]:
    """Sockets of one user on one channel, on both workers."""
    with ExitStack() as stack:
        yield open_on_both(pair, stack, room, dora.token)


def open_on_both(server: Server, stack: ExitStack, room: str, token: str = "") -> list[Socket]:
    """Open sockets until both workers have two or more; the kernel chooses."""
    sockets: list[Socket] = []

    def both_have_two() -> bool:
        sockets.append(stack.enter_context(Socket(server, room, token)))
        served = Counter(row["worker"] for row in rows_of(server, room, len(sockets)))
        return len(served) == 2 and min(served.values()) >= 2

    wait_until(both_have_two)
    return sockets


def rows_of(server: Server, room: str, number: int) -> list[Json]:
    """The listed clients on a channel, once there are so many: presence is written after the handshake."""
    path = f"/api/clients/?page_size=1000&address=channel:{room}"

    def listed() -> list[Json]:
        rows: list[Json] = call(server, "GET", path, token=server.api_key).body["results"]
        return rows if len(rows) >= number else []

    rows: list[Json] = wait_until(listed)
    return rows


def marked(socket: Socket, mark: str, kinds: int = 1) -> list[Json]:
    """Frames with the mark, up to the last one of each kind."""
    frames: list[Json] = []
    while sum("last" in frame for frame in frames) < kinds:
        frame = socket.receive()
        if frame.get("mark") == mark:
            frames.append(frame)
    return frames


def test_events_reach_every_socket_on_both_workers_once_and_in_order(
    pair: Server, dora: User, room: str, members: list[Socket]
):
    kinds = [
        ("channel", "channel_ids", [room]),
        ("user", "root_ids", [dora.root_id]),
        ("client", "client_ids", [socket.client_id for socket in members]),
    ]
    with Socket(pair) as sender:
        for number in range(30):
            kind, key, ids = kinds[number % 3]
            data = {"mark": room, "number": number} | ({"last": True} if number >= 27 else {})
            sender.send({"type": kind, key: ids, "data": data})

        for socket in members:
            frames = marked(socket, room, kinds=3)
            by_kind = [[f["number"] for f in frames if f["number"] % 3 == kind] for kind in range(3)]
            assert by_kind == [list(range(kind, 30, 3)) for kind in range(3)], (
                "once, in order for each address"
            )


@pytest.mark.parametrize("walker", ["tell", "tell_async"])
@pytest.mark.parametrize("over", ["socket", "http"])
def test_notifications_of_a_walker_reach_both_workers_once(
    pair: Server, dora: User, room: str, members: list[Socket], walker: str, over: str
):
    mark = secrets.token_hex(4)
    context = {
        "root_ids": [dora.root_id],
        "channel_ids": [room],
        "client_ids": [socket.client_id for socket in members],
        "data": {"mark": mark},
    }
    if over == "socket":
        members[0].send({"type": "walker", "walker": walker, "context": context})
    else:
        assert call(pair, "POST", f"/walker/{walker}", context, dora.token).status == 200

    for socket in members:
        assert [socket.receive() for _ in range(3)] == [{"mark": mark}] * 3
    for socket in members:
        assert socket.pending() == []


def test_a_command_and_a_shell_in_another_process_notify_too(
    pair: Server, dora: User, room: str, members: list[Socket]
):
    data = {"mark": room}
    lines = [
        "from routing_app.events.notifier import notify_channels, notify_clients, notify_self, notify_users",
        f"notify_users([{dora.root_id!r}], {data!r})",
        f"notify_channels([{room!r}, 'nobody'], {data!r})",
        f"notify_clients([{members[0].client_id!r}], {data!r})",
        f"notify_self({data!r})",
    ]
    pair.manage("shell", "-v", "0", "-c", "\n".join(lines))

    for socket in members:
        expected = 3 if socket is members[0] else 2
        assert [socket.receive() for _ in range(expected)] == [data] * expected
        assert socket.pending() == []


def test_operators_publish_and_the_admin_sends_to_both_workers(
    pair: Server, dora: User, room: str, members: list[Socket]
):
    body = {"addresses": [f"user:{dora.root_id}", f"channel:{room}"], "message": {"mark": room}}
    call(pair, "POST", "/api/publish", body, pair.api_key)

    for socket in members:
        assert socket.receive() == {"mark": room}
    for socket in members:
        assert socket.pending() == [], "both addresses match, and it still comes once"


def test_the_public_is_reached_on_both_workers(pair: Server, room: str):
    with ExitStack() as stack:
        sockets = open_on_both(pair, stack, room)
        sockets[0].send({"type": "user", "root_ids": [PUBLIC], "data": {"mark": room, "last": True}})

        for socket in sockets:
            assert marked(socket, room) == [{"mark": room, "last": True}]


def test_a_socket_that_has_gone_is_not_counted_on_its_channel(pair: Server, room: str):
    path = f"/api/channels/{room}/"
    with Socket(pair, room):
        rows_of(pair, room, 1)
        assert call(pair, "GET", path, token=pair.api_key).body["sockets"] == 1
    # Its row is deleted after the close.
    wait_until(lambda: call(pair, "GET", path, token=pair.api_key).status == 404)
