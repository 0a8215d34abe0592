"""The built-in requests: publishing and subscribing to other protocols, with the rights of the API."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest
from websockets.sync.client import connect as websocket

from tests.requests.conftest import Connect
from tests.requests.peer import Peer, call
from tests.services.databases import sql
from tests.services.server import Server
from tests.services.waiting import wait_until


@pytest.fixture
def name() -> str:
    return secrets.token_hex(4)


KEYS = {
    "publish": ["publish"],
    "read": ["read"],
    "not publish": ["manage", "read"],
    "not read": ["manage", "publish"],
    "revoked": ["read"],
    "narrowed": ["publish", "read"],
    "all": ["admin", "manage", "publish", "read"],
}
USERS = {"staff": True, "visitor": False}
PREPARE = f"""
import json
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
from routing_app.core.access.keys import issue

keys = {{name: issue(name, scopes)[1] for name, scopes in {KEYS}.items()}}
sessions = {{}}
for name, staff in {USERS}.items():
    user = get_user_model().objects.create_user(name, is_staff=staff, is_superuser=staff)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    sessions[name] = session.session_key
print("PREPARED", json.dumps([keys, sessions]))
"""


@pytest.fixture(scope="package")
def prepared(broker: Server) -> tuple[dict[str, str], dict[str, str]]:
    """API keys by what they are for, and the session cookies of users who have logged in."""
    output = broker.manage("shell", "-v0", "-c", PREPARE)
    keys, sessions = json.loads(output.rpartition("PREPARED ")[2])
    return keys, sessions


@pytest.fixture
def issued(prepared: tuple[dict[str, str], dict[str, str]]) -> dict[str, str]:
    """API keys by what they are for."""
    return prepared[0]


@pytest.fixture
def sessions(prepared: tuple[dict[str, str], dict[str, str]]) -> dict[str, str]:
    """Session cookies by user."""
    return prepared[1]


def test_publish_reaches_the_tokens_protocol(broker: Server, keyed: Connect, name: str) -> None:
    peer = keyed(broker)
    with websocket(f"{broker.ws_url}/ws?RegisterToken={name}", proxy=None) as client:
        client.send("Echo:ready")
        client.recv(timeout=60)
        outcome = peer.ask("publish", addresses=[f"token:{name}"], message="hello")
        assert client.recv(timeout=60) == "hello"
        peer.ask("publish", addresses=[f"token:{name}", f"token:{name}"], message={"a": [1, "é"]})
        assert json.loads(client.recv(timeout=60)) == {"a": [1, "é"]}
        client.send("Echo:end")
        assert client.recv(timeout=60) == "end"
    outcome.pop("direction")
    assert outcome in ({"delivered_to": 1}, {"accepted": True})


def test_a_subscriber_receives_from_tokens_and_the_api(broker: Server, keyed: Connect, name: str) -> None:
    peer = keyed(broker)
    address = f"token:{name}"
    assert peer.ask("subscribe", addresses=[address, address]) == {
        "direction": "REPLY",
        "addresses": [address],
    }
    with websocket(f"{broker.ws_url}/ws?RegisterToken=x", proxy=None) as client:
        client.send(f"{name}|from a client")
    assert peer.next() == {"type": "delivery", "address": address, "message": "from a client"}

    call(broker, "/api/publish", {"addresses": [address], "message": {"n": [None, 1.5]}})
    assert peer.next() == {"type": "delivery", "address": address, "message": {"n": [None, 1.5]}}


def test_each_delivery_names_the_address_it_came_by(broker: Server, keyed: Connect, name: str) -> None:
    one, other = keyed(broker), keyed(broker)
    one.ask("subscribe", addresses=[f"room:bus/{name}"])
    other.ask("subscribe", addresses=[f"channel:{name}", f"room:bus/{name}"])
    one.ask("publish", addresses=[f"channel:{name}", f"room:bus/{name}"], message=1)

    assert [frame["address"] for frame in other.silent()] == [f"channel:{name}"], "once"


def test_a_message_to_the_connections_own_address_reaches_it(broker: Server, connect: Connect) -> None:
    peer = connect(broker)
    own = peer.ask("whoami")["address"]
    call(broker, "/api/publish", {"addresses": [own], "message": "psst"})

    assert peer.next() == {"type": "delivery", "address": own, "message": "psst"}


def test_an_unsubscribed_address_delivers_nothing(broker: Server, keyed: Connect, name: str) -> None:
    peer = keyed(broker)
    addresses = [f"token:{name}a", f"token:{name}b"]
    peer.ask("subscribe", addresses=addresses)
    assert peer.ask("unsubscribe", addresses=addresses[:1])["addresses"] == addresses[:1]
    for address in addresses:
        call(broker, "/api/publish", {"addresses": [address], "message": address})

    assert peer.next()["address"] == addresses[1]
    assert peer.ask("whoami")["addresses"] == addresses[1:]
    peer.ask("unsubscribe", addresses=[f"token:{name}never"])


def test_pipelined_requests_take_effect_in_order(broker: Server, connect: Connect, name: str) -> None:
    peer = connect(broker)
    address = f"token:{name}"

    def ask(type: str, **fields: Any) -> None:
        peer.send({"direction": "REQUEST", "type": type, "key": type, **fields})

    ask("authenticate", api_key=broker.api_key)
    ask("subscribe", addresses=[address])
    ask("publish", addresses=[address], message=1)
    ask("unsubscribe", addresses=[address])
    ask("publish", addresses=[address], message=2)
    frames = [peer.next() for _ in range(6)]

    assert [frame.get("key") or frame["type"] for frame in frames] == [
        "authenticate",
        "subscribe",
        "delivery",
        "publish",
        "unsubscribe",
        "publish",
    ]


def test_presence_lists_the_subscribers_of_an_address(broker: Server, keyed: Connect, name: str) -> None:
    peer, other = keyed(broker), keyed(broker)
    address = f"token:{name}"
    peer.ask("subscribe", addresses=[address])

    def listed() -> dict[str, Any]:
        return other.ask("presence", address=address)

    wait_until(lambda: listed()["count"] == 1)
    (entry,) = listed()["connections"]
    assert entry["id"] == peer.id
    assert entry["protocol"] == "requests"
    with websocket(f"{broker.ws_url}/ws?RegisterToken={name}", proxy=None):
        wait_until(
            lambda: sorted(one["protocol"] for one in listed()["connections"]) == ["requests", "tokens"]
        )
    peer.close()
    wait_until(lambda: listed() == {"direction": "REPLY", "connections": [], "count": 0})
    assert other.ask("presence", address=f"connection:{other.id}")["count"] == 1


@pytest.mark.parametrize(("key", "sees"), [("all", True), ("read", False)])
def test_a_token_is_masked_unless_the_key_may_change_tokens(
    broker: Server, connect: Connect, issued: dict[str, str], name: str, key: str, sees: bool
) -> None:
    peer = connect(broker, f"?key={issued[key]}")
    peer.ask("subscribe", addresses=[f"token:{name}", f"channel:{name}"])
    token = name if sees else f"{name[:2]}… (8)"

    assert peer.ask("whoami")["addresses"] == [f"channel:{name}", f"token:{token}"]
    with websocket(f"{broker.ws_url}/ws?RegisterToken={name}", proxy=None):
        wait_until(lambda: peer.ask("presence", address=f"token:{name}")["count"] == 2)
        listed = peer.ask("presence", address=f"token:{name}")["connections"]
    assert {one["protocol"]: one["identity"] for one in listed}["tokens"] == token


def test_whoami_tells_the_facts_of_the_server(broker: Server, connect: Connect, keyed: Connect) -> None:
    nobody = connect(broker).ask("whoami")
    assert nobody["address"] == f"connection:{nobody['id']}"
    assert (nobody["name"], nobody["scopes"], nobody["addresses"]) == ("", [], [])
    holder = keyed(broker, receipts=True).ask("whoami")
    assert holder["scopes"] == ["admin", "manage", "publish", "read"]
    assert holder["receipts"] is True


@pytest.mark.parametrize("header", [("X-API-Key", "{}"), ("Authorization", "Bearer {}")])
def test_a_key_travels_as_at_the_api(broker: Server, connect: Connect, header: tuple[str, str]) -> None:
    name, value = header
    peer = connect(broker, additional_headers={name: value.format(broker.api_key)})

    assert "publish" in peer.ask("whoami")["scopes"]


def test_a_browser_authenticates_by_a_first_request(broker: Server, connect: Connect, name: str) -> None:
    peer = connect(broker)
    publish = {"addresses": [f"token:{name}"], "message": 1}
    assert peer.ask("publish", **publish)["code"] == "unauthenticated"
    assert peer.ask("authenticate", api_key="swk_wrong_key_that_nobody_has")["code"] == "unauthenticated"
    scopes = peer.ask("authenticate", api_key=broker.api_key)["scopes"]
    assert scopes == ["admin", "manage", "publish", "read"]
    assert peer.ask("publish", **publish)["direction"] == "REPLY"


NEEDS = [
    ("publish", {"addresses": ["token:x"], "message": 1}, "publish"),
    ("subscribe", {"addresses": ["token:x"]}, "read"),
    ("presence", {"address": "token:x"}, "read"),
]


@pytest.mark.parametrize(("type", "fields", "scope"), NEEDS)
def test_each_request_needs_its_scope(
    broker: Server,
    connect: Connect,
    issued: dict[str, str],
    type: str,
    fields: dict[str, Any],
    scope: str,
) -> None:
    assert connect(broker).ask(type, **fields)["code"] == "unauthenticated"
    allowed = connect(broker, f"?key={issued[scope]}")
    assert allowed.ask(type, **fields)["direction"] == "REPLY"
    refused = connect(broker, f"?key={issued['not ' + scope]}")
    assert refused.ask(type, **fields)["code"] == "forbidden"


WRONG = [
    ("publish", {"message": 1}),
    ("publish", {"addresses": [], "message": 1}),
    ("publish", {"addresses": "token:x", "message": 1}),
    ("publish", {"addresses": [5], "message": 1}),
    ("publish", {"addresses": ["token:x"]}),
    ("publish", {"addresses": ["session:x"], "message": 1}),
    ("publish", {"addresses": ["nonsense"], "message": 1}),
    ("publish", {"addresses": ["worker:0123456789abcdef"], "message": 1}),
    ("publish", {"addresses": [f"token:{n}" for n in range(1001)], "message": 1}),
    ("subscribe", {"addresses": [{}]}),
    ("subscribe", {"addresses": ["customer:a/b"]}),
    ("subscribe", {"addresses": ["worker:0123456789abcdef"]}),
    ("subscribe", {"addresses": ["connection:0123456789abcdef000000000000"]}),
    ("unsubscribe", {}),
    ("presence", {}),
    ("presence", {"address": ["token:x"]}),
    ("presence", {"address": "x"}),
    ("authenticate", {}),
    ("authenticate", {"api_key": 5}),
]


@pytest.mark.parametrize(("type", "fields"), WRONG)
def test_bad_fields_are_told(broker: Server, keyed: Connect, type: str, fields: dict[str, Any]) -> None:
    answer = keyed(broker).ask(type, **fields)

    assert (answer["direction"], answer["code"]) == ("ERROR", "invalid")
    assert answer["message"]


def test_subscriptions_of_one_connection_are_bounded(strict: Server, keyed: Connect) -> None:
    peer = keyed(strict)
    peer.ask("subscribe", addresses=["token:1", "token:2"])
    assert peer.ask("subscribe", addresses=["token:2", "token:3"])["direction"] == "REPLY"
    assert peer.ask("subscribe", addresses=["token:4"])["code"] == "too_many"


def test_rights_that_are_taken_away_end_the_connection_or_its_subscriptions(
    broker: Server, connect: Connect, issued: dict[str, str]
) -> None:
    revoked = connect(broker, f"?key={issued['revoked']}")
    narrowed = connect(broker, f"?key={issued['narrowed']}")
    for peer in (revoked, narrowed):
        peer.ask("subscribe", addresses=["token:x"])

    change = "UPDATE core_apikey SET {} WHERE name = %s"
    sql(broker.database_url, change.format("revoked_at = CURRENT_TIMESTAMP"), "revoked")
    sql(broker.database_url, change.format("""scopes = '["publish"]'"""), "narrowed")

    assert revoked.close_code()[0] == 4005
    wait_until(lambda: narrowed.ask("whoami")["scopes"] == ["publish"])
    assert narrowed.ask("whoami")["addresses"] == []


def test_staff_may_do_everything_from_a_page_of_the_server(
    broker: Server, connect: Connect, sessions: dict[str, str]
) -> None:
    cookie = {"Cookie": f"sessionid={sessions['staff']}"}
    page = connect(broker, origin=broker.url, additional_headers=cookie)
    assert page.ask("whoami")["scopes"] == ["admin", "manage", "publish", "read"]
    assert page.ask("whoami")["name"] == "staff"
    no_page = connect(broker, additional_headers=cookie)
    assert no_page.ask("whoami")["scopes"] == []


def test_a_user_that_is_not_staff_has_no_rights(
    broker: Server, connect: Connect, sessions: dict[str, str]
) -> None:
    cookie = {"Cookie": f"sessionid={sessions['visitor']}"}
    peer = connect(broker, origin=broker.url, additional_headers=cookie)

    assert peer.ask("whoami")["scopes"] == []


def received(peer: Peer) -> list[Any]:
    return [frame["message"] for frame in peer.silent() if frame.get("type") == "delivery"]


def test_a_publisher_that_has_subscribed_receives_its_own_in_order(
    broker: Server, keyed: Connect, name: str
) -> None:
    peer = keyed(broker)
    peer.ask("subscribe", addresses=[f"token:{name}"])
    for n in range(300):
        peer.send({"direction": "REQUEST", "type": "publish", "addresses": [f"token:{name}"], "message": n})

    assert received(peer) == list(range(300))
