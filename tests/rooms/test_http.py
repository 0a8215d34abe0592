"""The HTTP side: the original's two paths, REST, the prefix, origins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.compliance.engineio.client import Answer, Site
from tests.conftest import ServerFactory
from tests.rooms.client import SOCKET_IO, Api, plain, polled, socketio
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def chosen(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with settings of its operator's choice."""
    options = {
        "ROOMS_BUS_TOKEN": "shared secret",
        "ROOMS_ORIGINS": "https://good.example",
        "ROOMS_PATHS": "/socket.io/,/prefix/socket.io/",
    }
    with running(databases, tmp_path_factory.mktemp("chosen"), **options) as server:
        yield server


async def post_bus(broker: Server, room: str, body: str | bytes, **headers: str) -> Answer:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    return await Site(broker.port).request("POST", f"/bus-message/{room}", body, given)


async def test_healthcheck(broker: Server) -> None:
    answer = await Site(broker.port).request("GET", "/healthcheck")
    head = await Site(broker.port).request("HEAD", "/healthcheck")

    assert (answer.status, answer.body) == (200, b"OK")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert (head.status, head.body) == (200, b"")


async def in_bus(stack: AsyncExitStack, broker: Server, room: str) -> list[Any]:
    socket, client = await plain(stack, broker, "bus"), await socketio(stack, broker, "bus", 3)
    await socket.join(room, "n")
    await client.ask("JOIN", {"room": room, "name": "n"})
    return [socket, client]


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        ('{"playing":true,"é":"€"}', "application/json", {"playing": True, "é": "€"}),
        ("[1,2]", "application/json; charset=utf-8", [1, 2]),
        ("", "application/json", {}),
        ("a=b", "application/x-www-form-urlencoded", {}),
        ("not json", "text/plain", {}),
    ],
)
async def test_bus_message(
    broker: Server, stack: AsyncExitStack, room: str, body: str, content_type: str, message: Any
) -> None:
    members = await in_bus(stack, broker, room)

    answer = await post_bus(broker, room, body, Content_Type=content_type)

    assert (answer.status, answer.body) == (200, b"OK")
    for member in members:
        assert await member.receive() == ["EVENT", {"sender": "POST", "room": room, "message": message}]


async def test_bus_message_without_anybody_is_fine(broker: Server, room: str) -> None:
    assert (await post_bus(broker, room, "{}", **{"Content-Type": "application/json"})).status == 200


REFUSED: list[tuple[str | bytes, int]] = [
    *((body, 400) for body in ("{", "5", '"text"', "null", "NaN", b"\xff", "[" * 90_000)),
    ("[" + " " * 102_400 + "]", 413),
]


@pytest.mark.parametrize(("body", "status"), REFUSED, ids=lambda value: repr(value)[:12])
async def test_bus_message_refuses_as_the_original_does(
    broker: Server, room: str, body: Any, status: int
) -> None:
    assert (await post_bus(broker, room, body, **JSON)).status == status


async def test_bus_message_refuses_other_methods_and_rooms(broker: Server) -> None:
    assert (await Site(broker.port).request("GET", "/bus-message/x")).status == 405
    assert (await post_bus(broker, "x" * 256, "{}", **JSON)).status == 400
    assert (await post_bus(broker, "a%00b", "{}", **JSON)).status == 400


async def test_bus_message_rooms_are_decoded(broker: Server, stack: AsyncExitStack, room: str) -> None:
    member = await plain(stack, broker, "bus")
    await member.join(f"{room}/é ü", "n")

    assert (await post_bus(broker, f"{room}%2F%C3%A9%20%C3%BC", "{}", **JSON)).status == 200
    assert (await member.receive())[1]["room"] == f"{room}/é ü"


async def test_bus_message_can_ask_for_a_secret(chosen: Server) -> None:
    assert (await post_bus(chosen, "x", "{}", **JSON)).status == 401
    assert (await post_bus(chosen, "x", "{}", **JSON, X_API_Key="wrong")).status == 401
    assert (await post_bus(chosen, "x", "{}", **JSON, X_API_Key="shared secret")).status == 200
    assert (await post_bus(chosen, "x", "{}", **JSON, Authorization="Bearer shared secret")).status == 200


# --- REST ------------------------------------------------------------------------------------------------


async def test_rooms_over_rest(broker: Server, stack: AsyncExitStack, room: str, api: Api) -> None:
    created = await api.json("POST", "/api/rooms/", {"namespace": "layout", "name": room, "note": "n"})
    assert (created["address"], created["member_count"]) == (f"room:layout/{room}", 0)
    path = f"/api/rooms/{created['id']}/"
    client, socket = await socketio(stack, broker, "layout"), await plain(stack, broker, "layout")
    await client.ask("JOIN", {"room": room, "name": "alice"})
    await socket.join(room, {"odd": True})  # type: ignore[arg-type]

    members = await api.json("GET", f"{path}members/")
    assert members["count"] == 2
    assert [row["nickname"] for row in members["results"]] == ["alice", {"odd": True}]
    assert {row["protocol"] for row in members["results"]} == {"rooms"}
    assert members["results"][0]["connection"] == client.sid
    assert (await api.json("GET", path))["member_count"] == 2

    await api.json("POST", f"{path}publish/", {"message": {"x": 1}, "sender": "operator"})
    for member in (client, socket):
        assert await member.receive() == ["EVENT", {"sender": "operator", "room": room, "message": {"x": 1}}]

    changed = await api.json("PATCH", path, {"note": "changed", "member_limit": 3, "allowed": ["a"]})
    assert (changed["note"], changed["member_limit"], changed["allowed"]) == ("changed", 3, ["a"])
    await api.json("DELETE", path)
    assert (await api.call("GET", path)).status == 404


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"namespace": "nope", "name": "x"}, "namespace"),
        ({"namespace": "layout"}, "name"),
        ({"namespace": "layout", "name": "x" * 256}, "name"),
        ({"namespace": "layout", "name": "a\nb"}, "name"),
        ({"namespace": "layout", "name": "x", "allowed": "alice"}, "allowed"),
        ({"namespace": "layout", "name": "x", "allowed": [1]}, "allowed"),
        ({"namespace": "layout", "name": "x", "member_limit": -1}, "member_limit"),
    ],
)
async def test_wrong_rooms_are_refused(api: Api, fields: dict[str, Any], wrong: str) -> None:
    answer = await api.call("POST", "/api/rooms/", fields)

    assert answer.status == 400
    assert list(json.loads(answer.body)) == [wrong]


async def test_a_room_is_neither_renamed_nor_made_twice(api: Api, room: str) -> None:
    created = await api.json("POST", "/api/rooms/", {"namespace": "bus", "name": room})

    assert (await api.call("PATCH", f"/api/rooms/{created['id']}/", {"name": "other"})).status == 400
    assert (await api.call("PATCH", f"/api/rooms/{created['id']}/", {"namespace": "layout"})).status == 400
    assert (await api.call("POST", "/api/rooms/", {"namespace": "bus", "name": room})).status == 400


async def test_rest_needs_a_key(broker: Server) -> None:
    for method, path in (
        ("GET", ""),
        ("POST", ""),
        ("GET", "1/"),
        ("GET", "1/members/"),
        ("POST", "1/publish/"),
    ):
        answer = await Site(broker.port).request(method, f"/api/rooms/{path}", "{}", JSON)
        assert answer.status == 401


# --- where it is mounted, and who may come ---------------------------------------------------------------


async def test_the_endpoint_is_mountable_under_a_prefix(chosen: Server, stack: AsyncExitStack) -> None:
    """Client URLs of the originals may be `https://host/{prefix}/`, which means `prefix/socket.io`."""
    for path in ("/socket.io/", "/prefix/socket.io/"):
        site = Site(chosen.port, 4, path)
        assert (await site.get()).status == 200
        assert (await (await site.socket(stack)).receive())[0] == "0"
    assert (await Site(chosen.port, 4, "/other/socket.io/").get()).status == 404


async def test_other_origins_are_refused_and_not_logged(chosen: Server) -> None:
    site = Site(chosen.port, 4, SOCKET_IO)
    target = site.query("polling")
    wrong, good = {"Origin": "https://bad.example"}, {"Origin": "https://good.example"}

    refused = await site.request("GET", target, headers=wrong)
    assert (refused.status, json.loads(refused.body)) == (403, {"code": 4, "message": "Forbidden"})
    assert (await site.request("GET", target, headers=good)).status == 200
    with pytest.raises(InvalidStatus):
        await connect(f"{chosen.ws_url}/layout", origin="https://bad.example", proxy=None)  # type: ignore[arg-type]
    query = site.query("websocket")
    with pytest.raises(InvalidStatus):
        await connect(f"{chosen.ws_url}{query}", origin="https://bad.example", proxy=None)  # type: ignore[arg-type]
    assert "ROOMS_ORIGINS would admit it" in chosen.log_text()
    assert "bad.example" not in chosen.log_text()


@pytest.mark.once
@pytest.mark.parametrize("runner", ["daphne", "uvicorn"])
async def test_plain_asgi_servers_serve_it(
    server: ServerFactory, stack: AsyncExitStack, room: str, runner: str
) -> None:
    broker = server(runner)
    site = Site(broker.port, 4, SOCKET_IO)
    sid = await site.open()
    await site.post(f'40/layout,\x1e42/layout,0["JOIN",{{"room":"{room}","name":"poller"}}]', sid)
    member, socket = await socketio(stack, broker, "layout", 3), await plain(stack, broker, "layout")
    await member.ask("JOIN", {"room": room, "name": "n"})

    await socket.say("NOTIFY", {"room": room, "message": "é"})

    assert (await member.receive())[1]["message"] == "é"
    assert '"message":"\\u00e9"' in await polled(site, sid, "EVENT")
