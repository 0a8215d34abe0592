"""Presence notices between servers: clients of every protocol, masking, rules, and workers that end."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest
from websockets.sync.client import connect as websocket

from routing_app.core.access.masking import mask
from tests.requests.conftest import Connect
from tests.requests.peer import Peer, call
from tests.rooms.client import socketio
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.stream.reader import reading

pytestmark = pytest.mark.once  # its processes share a Redis on both stacks


READ_KEY = """
from routing_app.core.access.keys import issue
print("KEY", issue("reader", ["read"])[1])
"""


@pytest.fixture(scope="package")
def told(two: tuple[Server, Server]) -> tuple[Server, Server]:
    """Two servers with notices of some addresses, and a rule without them."""
    for pattern in ("token:told/*", "channel:told*", "room:layout/told*"):
        have_notices(two[0], pattern)
    assert call(two[0], "/api/rules/", {"pattern": "token:told/kept*", "history_size": 1})[0] == 201
    return two


@pytest.fixture(scope="package")
def read_key(told: tuple[Server, Server]) -> str:
    return told[0].manage("shell", "-v0", "-c", READ_KEY).rpartition("KEY ")[2].strip()


def have_notices(server: Server, pattern: str) -> None:
    """Make a rule."""
    assert call(server, "/api/rules/", {"pattern": pattern, "notices": True})[0] == 201


@pytest.fixture
def name() -> str:
    return f"told{secrets.token_hex(4)}"


def watch(peer: Peer, *addresses: str) -> None:
    """Subscribe with notices, once the server knows the rules."""

    def subscribed() -> bool:
        answer = peer.ask("subscribe", addresses=list(addresses), notices=True)
        return answer.get("addresses") == list(addresses)

    wait_until(subscribed)


def notices(peer: Peer, enough: Callable[[list[dict[str, Any]]], Any]) -> list[dict[str, Any]]:
    """The notices that come until they are enough."""
    found: list[dict[str, Any]] = []
    while not enough(found):
        frame = peer.next(timeout=60)
        if frame["type"] == "presence":
            found.append(frame)
    return found


def entries(found: list[dict[str, Any]], field: str) -> dict[tuple[str, str], str]:
    """Identities by address and protocol."""
    return {
        (notice["address"], one["protocol"]): one["identity"] for notice in found for one in notice[field]
    }


async def test_clients_of_every_protocol_are_told_on_another_server(
    told: tuple[Server, Server], keyed: Connect, connect: Connect, read_key: str, name: str
) -> None:
    here, there = told
    token, channel, room = f"told/{name}", f"channel:{name}", f"room:layout/{name}"
    addresses = [f"token:{token}", channel, room]
    seeing, blind = keyed(here), connect(here, f"?key={read_key}")
    watch(seeing, *addresses)
    watch(blind, *addresses)
    notices(seeing, lambda found: len(found) == 3)
    async with AsyncExitStack() as stack:
        stack.enter_context(websocket(f"{there.ws_url}/ws?RegisterToken={token}", proxy=None))
        stack.enter_context(websocket(f"{there.ws_url}/websocket?channel_id={name}", proxy=None))
        client = await socketio(stack, there, "layout")
        await client.ask("JOIN", {"room": name, "name": "anna"})
        stack.enter_context(reading(there, room)).opened()
        asking = keyed(there)
        asking.ask("subscribe", addresses=[room])
        wanted = {
            (f"token:{token}", "tokens"),
            (channel, "events"),
            (room, "rooms"),
            (room, "requests"),
            (room, "stream"),
        }
        seen = notices(seeing, lambda found: entries(found, "joined").keys() == wanted)
        masked = notices(blind, lambda found: entries(found, "joined").keys() == wanted)
        assert {notice["address"]: notice["count"] for notice in seen} == {
            f"token:{token}": 3,
            channel: 3,
            room: 5,
        }
        assert entries(seen, "joined")[f"token:{token}", "tokens"] == token
        assert entries(masked, "joined")[f"token:{token}", "tokens"] == mask(token)
        assert entries(masked, "joined")[room, "rooms"] == entries(seen, "joined")[room, "rooms"] == "anna"
        assert asking.id in {one["id"] for notice in seen for one in notice["joined"]}
        asking.close()
    gone = notices(seeing, lambda found: entries(found, "left").keys() == wanted)
    assert {notice["address"]: notice["count"] for notice in gone} == dict.fromkeys(addresses, 2)


def test_there_is_no_first_notice_and_none_of_oneself(
    told: tuple[Server, Server], keyed: Connect, name: str
) -> None:
    address = f"token:told/{name}"
    before, peer = keyed(told[1]), keyed(told[0])
    before.ask("subscribe", addresses=[address])
    watch(peer, address)
    after = keyed(told[1])
    after.ask("subscribe", addresses=[address])
    [notice] = notices(peer, len)
    assert notice == {
        "type": "presence",
        "address": address,
        "count": 3,
        "joined": [{"id": after.id, "protocol": "requests", "identity": "first run"}],
        "left": [],
    }


@pytest.mark.parametrize("others", [[], ["token:told/kept"], ["token:else"], ["room:bus/told"]])
def test_without_the_flag_of_the_rule_nothing_is_subscribed_to(
    told: tuple[Server, Server], keyed: Connect, others: list[str]
) -> None:
    peer = keyed(told[0])
    watch(peer, "token:told/allowed")
    peer.ask("unsubscribe", addresses=["token:told/allowed"])
    addresses = ["token:told/allowed", *(others or [f"connection:{peer.id}"])]
    answer = peer.ask("subscribe", addresses=addresses, notices=True)
    assert (answer["direction"], answer["code"]) == ("ERROR", "forbidden")
    assert peer.ask("whoami")["addresses"] == []


@pytest.mark.parametrize("notices", [1, "yes", None, []])
def test_the_field_is_true_or_false(told: tuple[Server, Server], keyed: Connect, notices: Any) -> None:
    peer = keyed(told[0])
    assert peer.ask("subscribe", addresses=["token:told/a"], notices=notices)["code"] == "invalid"
    assert peer.ask("whoami")["addresses"] == []


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_the_clients_of_a_worker_that_ends_are_told_as_left(
    mortals: tuple[Server, Server], keyed: Connect, name: str, end: str
) -> None:
    address = f"token:told/{name}"
    survivor, victim = mortals
    have_notices(survivor, "token:told/*")
    peer = keyed(survivor)
    watch(peer, address)
    with ExitStack() as stack:
        for _ in range(3):
            url = f"{victim.ws_url}/ws?RegisterToken=told/{name}"
            stack.enter_context(websocket(url, proxy=None, close_timeout=1))
        joined = notices(peer, lambda found: found and found[-1]["count"] == 4)
        if end == "killed":
            victim.kill()
        else:
            victim.stop()
        left = notices(peer, lambda found: found and found[-1]["count"] == 1)
    came, gone = (
        {one["id"] for notice in found for one in notice[field]}
        for found, field in ((joined, "joined"), (left, "left"))
    )
    assert came == gone
    assert len(gone) == 3


def test_more_than_100_at_once_are_counted(told: tuple[Server, Server], keyed: Connect, name: str) -> None:
    address = f"token:told/{name}"
    peer, crowd = keyed(told[0]), [keyed(told[1]) for _ in range(101)]
    watch(peer, address)
    frame = json.dumps({"direction": "REQUEST", "key": "s", "type": "subscribe", "addresses": [address]})
    for one in crowd:
        one.send(frame)
    found = notices(peer, lambda found: found and found[-1]["count"] == 102)
    named = sum(len(notice.get("joined", [])) for notice in found)
    assert named == 101 or any(notice.get("truncated") for notice in found)
    assert all("joined" not in notice for notice in found if notice.get("truncated"))
