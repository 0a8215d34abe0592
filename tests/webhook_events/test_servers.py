"""Real clients of every protocol, one server: a receiver is told of what they do."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from websockets.sync.client import ClientConnection, connect

from routing_app.core.access.masking import mask
from routing_app.core.address import worker_of
from tests.conftest import SCALED_OUT, ServerFactory
from tests.events.client import Socket, new_user
from tests.requests.peer import Peer
from tests.services import prestarted
from tests.services.databases import REPOSITORY, Databases
from tests.services.running import running
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.sessions.conftest import Broker
from tests.tokens.client import call
from tests.webhooks.receiver import Receiver

Events = list[tuple[str, dict[str, Any]]]


class Told:
    """What a receiver was told, since a test began to look."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._seen = len(receiver.calls)

    def events(self) -> Events:
        bodies = {one.id: json.loads(one.body) for one in self._receiver.calls[self._seen :]}
        return [(body["type"], body["data"]) for body in bodies.values()]

    def of(self, type: str, **fields: Any) -> list[dict[str, Any]]:
        """The data of events of a type that have such fields."""
        return [data for one, data in self.events() if one == type and fields.items() <= data.items()]

    def wait_for(self, type: str, **fields: Any) -> dict[str, Any]:
        """The only such event, once it has come."""
        wait_until(lambda: self.of(type, **fields))
        [data] = self.of(type, **fields)
        return data


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture(scope="module")
def broker(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> Iterator[Server]:
    options = {"WEBHOOKS_PRIVATE": "yes", "EVENTS_REGISTER": "yes"}
    with running(databases, tmp_path_factory.mktemp("events"), **options) as server:
        hook = {"name": "all", "url": receiver.url("/ok"), "events": ["*"], "addresses": ["*"]}
        assert call(server, "POST", "/api/webhooks/", hook).status == 201
        yield server


@pytest.fixture
def told(broker: Server, receiver: Receiver) -> Told:
    return Told(receiver)


def socket(server: Server, path: str) -> ClientConnection:
    return connect(f"{server.ws_url}/{path}", proxy=None, max_size=None)


def begin(broker: Server, customer: str) -> Any:
    """A session of the publisher `demo`."""
    token = Broker(broker).token(customer)
    return call(broker, "POST", "/sessions", {"offerId": "film"}, Authorization=f"Bearer {token}")


PATHS = {
    "tokens": "ws?RegisterToken=secret-12",
    "rooms": "layout",
    "events": "websocket",
    "requests": "connection",
}


@pytest.mark.parametrize("protocol", list(PATHS))
def test_a_client_is_told_of_from_beginning_to_end(broker: Server, told: Told, protocol: str) -> None:
    with socket(broker, PATHS[protocol]) as client:
        opened = told.wait_for("connection.opened", protocol=protocol)
        assert set(opened) == {"connection", "protocol", "identity", "peer"}
        client.close(4321, "enough")
    closed = told.wait_for("connection.closed", connection=opened["connection"])
    assert closed.pop("seconds") >= 0
    assert closed == {**closed, "code": 4321, "protocol": protocol, "peer": opened["peer"]}
    if protocol == "tokens":
        assert opened["identity"] == closed["identity"] == "se… (9)"


def test_a_close_of_the_server_has_its_code(broker: Server, told: Told) -> None:
    with socket(broker, "ws?RegisterToken=kicked"):
        opened = told.wait_for("connection.opened", protocol="tokens")
        address = f"connection:{opened['connection']}"
        assert call(broker, "POST", "/api/disconnect", {"addresses": [address]}).status == 200
        assert told.wait_for("connection.closed", connection=opened["connection"])["code"] == 4003


def test_a_session_of_a_player_is_told_of(broker: Server, told: Told) -> None:
    made = begin(broker, "ann").json()
    created = told.wait_for("session.created", customer="ann")
    assert created["id"] == made["sessionId"]
    path = made["endpoint"].partition("?")[2]
    with socket(broker, f"?{path}") as player:
        player.send(json.dumps({"action": "REQUESTED"}))
        assert told.wait_for("connection.opened", protocol="sessions")["identity"] == "ann"
        player.send(json.dumps({"action": "FINISHED"}))
        finished = told.wait_for("session.finished", customer="ann")
    assert (finished["id"], finished["by"], finished["offer_id"]) == (made["sessionId"], "player", "film")
    killed = begin(broker, "bob").json()["sessionId"]
    assert call(broker, "DELETE", f"/api/sessions/{killed}/").status == 204
    assert told.wait_for("session.killed", customer="bob")["id"] == killed


def test_a_token_and_a_user_are_told_of(broker: Server, told: Told) -> None:
    assert call(broker, "POST", "/api/tokens/", {"token": "secret-34"}).status == 201
    assert told.wait_for("token.registered") == {"token": "se… (9)"}
    user = new_user(broker)
    registered = told.wait_for("user.registered", email=user.email)
    assert set(registered) == {"id", "email", "root_id"}


def test_members_and_occupied_addresses_are_told_of(broker: Server, told: Told) -> None:
    with socket(broker, "bus") as first, socket(broker, "bus") as second:
        for client, name in ((first, "ann"), (second, "bob")):
            client.send(json.dumps(["JOIN", {"room": "r1", "name": name}]))
            told.wait_for("member.joined", address="room:bus/r1", name=name)
        assert told.wait_for("address.occupied", address="room:bus/r1") == {"address": "room:bus/r1"}
        first.send(json.dumps(["LEAVE", {"room": "r1"}]))
        told.wait_for("member.left", address="room:bus/r1", name="ann")
        assert told.of("address.vacated", address="room:bus/r1") == []
    told.wait_for("member.left", address="room:bus/r1", name="bob")
    assert told.wait_for("address.vacated", address="room:bus/r1") == {"address": "room:bus/r1"}


def test_a_message_is_told_of_whichever_way_it_was_published(broker: Server, told: Told) -> None:
    order = f"order-{secrets.token_hex(8)}"  # the store of ids may be another test's as well
    body = {"addresses": ["token:p1"], "message": {"by": "REST"}, "id": order}
    assert call(broker, "POST", "/api/publish", body).status in (200, 202)
    with socket(broker, "ws?RegisterToken=p2") as tokens:
        tokens.send("p2|by a token")
        assert tokens.recv(60)
    with socket(broker, "bus") as rooms:
        rooms.send(json.dumps(["NOTIFY", {"room": "p3", "message": "in a room"}]))
        told.wait_for("message.published", address="room:bus/p3")
    peer = Peer(broker, f"?key={broker.api_key}")
    assert peer.ask("publish", addresses=["channel:p4"], message="by a request")["direction"] == "REPLY"
    peer.close()
    user = new_user(broker)
    events = Socket(broker, channel="p5", token=user.token)
    target = f"client:{events.client_id}"
    events.send({"type": "client", "client_ids": [events.client_id], "data": {"by": "an event"}})
    code = (
        "from switchboard import publish_on_commit, publish_sync\n"
        "publish_on_commit(['token:p6'], 'with a commit', id='o" + order + "')\n"
        "publish_sync(['token:p7'], 'by a script')\n"
    )
    command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", code]
    assert prestarted.run(command, broker.env, REPOSITORY).returncode == 0
    expected = {
        "token:p1": ({"by": "REST"}, order),
        "token:p2": ("by a token", None),
        "room:bus/p3": ("in a room", None),
        "channel:p4": ("by a request", None),
        target: ({"by": "an event"}, None),
        "token:p6": ("with a commit", f"o{order}"),
        "token:p7": ("by a script", None),
    }
    for address, (message, id) in expected.items():
        data = told.wait_for("message.published", address=address)
        assert set(data) == {"address", "message", "sender", "id"}
        assert data["message"] == message
        assert data["id"] == id or id is None
        assert data["id"]
    assert told.wait_for("message.published", address="room:bus/p3")["sender"] == "unknown"


@pytest.mark.skipif(not SCALED_OUT, reason="SQLite is for one process")
def test_a_worker_that_is_killed_vacates_when_its_lease_is_over(
    broker: Server, told: Told, server: ServerFactory
) -> None:
    doomed = server(DATABASE_URL=broker.database_url, WEBHOOKS_PRIVATE="yes")
    with socket(broker, "ws?RegisterToken=shared"), socket(doomed, "ws?RegisterToken=shared"):
        with socket(doomed, "ws?RegisterToken=alone"):
            told.wait_for("address.occupied", address="token:alone")
            told.wait_for("address.occupied", address="token:shared")
            opened = told.wait_for("connection.opened", identity=mask("alone"))
            doomed.kill()
        _age(broker, worker_of(opened["connection"]))
        told.wait_for("address.vacated", address="token:alone")
        assert told.of("address.vacated", address="token:shared") == []


def _age(server: Server, worker: str) -> None:
    """Have the lease of a worker be over since a moment ago, without the wait."""
    with psycopg.connect(server.database_url, autocommit=True) as link:
        link.execute(
            "UPDATE core_workerrecord SET leased_at = leased_at - interval '20 s',"
            " renewed_at = renewed_at - interval '20 s' WHERE id = %s",
            [worker],
        )
