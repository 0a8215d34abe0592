"""Hooks on connect: every protocol asks, and does what it is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.compliance.engineio.client import Site
from tests.hooks.backend import Hooks, Raw
from tests.hooks.node import operate, refusals
from tests.requests.peer import Peer, call
from tests.rooms.client import SOCKET_IO, socketio
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.sessions.conftest import Broker, Customer
from tests.sessions.http import Http
from tests.stream.reader import Reader

SOCKETS = {
    "tokens": "/ws",
    "rooms": "/layout",
    "events": "/websocket",
    "requests": "/connection",
}
REFUSE = {"allow": False, "reason": "not you"}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as one:
        yield one


def status_of(server: Server, path: str) -> tuple[int, str | None]:
    """Status and Retry-After of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as refused:
        connect(server.ws_url + path, proxy=None).close()
    return refused.value.response.status_code, refused.value.response.headers.get("Retry-After")


def identity_of(server: Server, id: str) -> str:
    """The identity of a connection in the listing, once it is there."""
    found: list[Any] = []

    def look() -> bool:
        rows = operate(server, "GET", "/api/clients/")["results"]
        found[:] = [row["identity"] for row in rows if row["id"] == id]
        return bool(found)

    wait_until(look)
    return str(found[0])


@pytest.mark.parametrize(("protocol", "path"), SOCKETS.items(), ids=list(SOCKETS))
def test_a_handshake_is_refused_for_good_or_for_now(broker: Server, hooks: Hooks, protocol: str, path: str):
    counted = refusals(broker, protocol, "hook")
    with hooks.hook(protocol, "connect", "*", REFUSE) as route:
        assert status_of(broker, f"{path}?shop=7&access_token=") == (403, None)
        route.answer = Raw(500)
        status, again = status_of(broker, path)
        assert (status, int(again or 0) > 0) == (503, True)
    assert refusals(broker, protocol, "hook") == counted + 1
    body = route.bodies[0]
    assert (body["on"], body["protocol"], body["address"], body["message"]) == (
        "connect",
        protocol,
        None,
        None,
    )
    assert body["query"] == "shop=7&access_token=***"


@pytest.mark.parametrize("protocol", ["rooms", "events", "requests"])
def test_the_listing_has_the_identity_that_the_backend_gives(
    broker: Server, hooks: Hooks, name: str, protocol: str
):
    """In tokens the listing has the token."""
    answer = {"allow": True, "identity": name}
    with (
        hooks.hook(protocol, "connect", "*", answer) as route,
        connect(broker.ws_url + SOCKETS[protocol], proxy=None),
    ):
        assert identity_of(broker, route.bodies[0]["connection"]) == name


def test_a_client_of_requests_receives_as_the_backend_says(broker: Server, hooks: Hooks, name: str):
    answer = {"allow": True, "identity": "ada", "subscribe": [f"token:{name}", f"room:bus/{name}"]}
    with hooks.hook("requests", "connect", "*", answer):
        peer = Peer(broker)
    who = peer.ask("whoami")
    assert (who["name"], len(who["addresses"])) == ("ada", 2)
    assert peer.ask("publish", addresses=[f"token:{name}"], message=0)["code"] == "unauthenticated"
    # Another credential does not end what the backend has given.
    assert peer.ask("authenticate", api_key=broker.api_key)["direction"] == "REPLY"
    call(broker, "/api/publish", {"addresses": [f"room:bus/{name}"], "message": 1})
    assert peer.next()["message"] == 1
    peer.close()


def test_a_client_of_events_receives_as_the_backend_says(broker: Server, hooks: Hooks, name: str):
    answer = {"allow": True, "identity": "ada", "subscribe": [f"channel:{name}"]}
    with (
        hooks.hook("events", "connect", "*", answer),
        connect(f"{broker.ws_url}/websocket", proxy=None) as socket,
    ):
        socket.recv(timeout=60)
        call(broker, "/api/publish", {"addresses": [f"channel:{name}"], "message": {"n": 1}})
        assert json.loads(socket.recv(timeout=60)) == {"n": 1}


@pytest.mark.parametrize("version", [3, 4])
async def test_a_namespace_of_socket_io_is_asked_about(
    broker: Server, hooks: Hooks, stack: AsyncExitStack, name: str, version: int
):
    connecting = ',{"token": "", "ticket": "7"}' if version == 4 else ""
    answer = {"allow": True, "subscribe": [f"room:bus/{name}"]}
    with hooks.hook("rooms", "connect", "*", answer, headers=["Host"]) as route:
        one = await socketio(stack, broker, "bus", version, connecting, ticket="8")
        route.answer = REFUSE
        frames = await Site(broker.port, version, SOCKET_IO).socket(stack)
        for _ in range(
            2 if version == 3 else 1
        ):  # the opening packet; older clients are in the main namespace
            await frames.receive()
        await frames.send("40/layout" + ("," if version == 4 else ""))
        refused = await frames.receive()
    assert refused == ('44/layout,{"message":"not you"}' if version == 4 else '44/layout,"not you"')
    (first, *_) = route.bodies
    call(broker, "/api/publish", {"addresses": [f"room:bus/{name}"], "message": 1})
    assert (await one.receive())[1]["message"] == 1
    assert first["headers"]["host"].startswith("127.0.0.1")
    assert "ticket=8" in first["query"]
    assert first["message"] == ({"token": "***", "ticket": "7"} if version == 4 else {})


async def test_a_player_is_asked_about(broker: Server, hooks: Hooks):
    http = Http(broker.url)
    customer = Customer(Broker(broker), http)
    endpoint = (await customer.create()).json["endpoint"]
    with hooks.hook("sessions", "connect", "*", REFUSE) as route:
        assert status_of(broker, f"/?{endpoint.partition('?')[2]}")[0] == 403
    assert (route.bodies[0]["identity"], route.bodies[0]["query"]) == (f"demo/{customer.id}", "token=***")
    await http.close()


def test_a_reader_of_a_stream_is_asked_about(broker: Server, hooks: Hooks, name: str):
    answer = {"allow": True, "subscribe": [f"token:{name}more"]}
    with hooks.hook("stream", "connect", "*", answer) as route:
        with Reader(broker, f"token:{name}") as reader:
            call(broker, "/api/publish", {"addresses": [f"token:{name}more"], "message": 1})
            assert reader.messages(1) == [1]
        for words in ("not_you", "Not you: " + "é" * 200 + "."):
            route.answer = {"allow": False, "reason": words}
            with Reader(broker, f"token:{name}") as refused:
                assert (refused.status, refused.body()) == (403, {"detail": words})
    assert route.bodies[0]["connection"]


WRONG: list[Any] = [
    {"allow": True, "identity": 7},
    {"allow": True, "name": "a\nb"},
    {"allow": True, "identity": "x" * 256},
    {"allow": True, "subscribe": "token:a"},
    {"allow": True, "subscribe": ["nothing"]},
    {"allow": True, "subscribe": ["customer:a/b"]},
    {"allow": True, "subscribe": [1]},
]


def test_what_the_backend_cannot_give_is_no_answer(broker: Server, hooks: Hooks):
    with hooks.hook("requests", "connect", "*", fail="open") as route:
        for answer in WRONG:
            route.answer = answer
            peer = Peer(broker)
            assert peer.ask("whoami")["addresses"] == []
            peer.close()
    with hooks.hook("tokens", "connect", "*", {"allow": True, "subscribe": ["room:bus/a"]}):
        assert status_of(broker, "/ws")[0] == 503
