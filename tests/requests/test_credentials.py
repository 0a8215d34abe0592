"""Access tokens and API keys on `/connection`: who is let in, what each allows, refreshes, and expiries."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.requests.conftest import Connect
from tests.requests.peer import Peer
from tests.services.databases import Databases
from tests.services.issuing import add_issuer, add_key, bad_tokens, token
from tests.services.running import running
from tests.services.server import Server
from tests.services.short_lived import let_in
from tests.services.waiting import wait_until

BAD = ("expired", "unknown issuer", "other secret", "not a JWT")


@pytest.fixture(scope="module")
def bounded(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose clients need a credential; every channel has history."""
    options = {"REQUESTS_ACCESS": "token", "HISTORY_SIZE": "50"}
    with running(databases, tmp_path_factory.mktemp("bounded"), **options) as server:
        add_issuer(server)
        yield server


@pytest.fixture(scope="module")
def open_to_all(broker: Server) -> Server:
    """A server as it comes, with an issuer."""
    add_issuer(broker)
    return broker


@pytest.fixture
def address() -> str:
    return f"channel:{secrets.token_hex(4)}"


def bearer(credential: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {credential}"}}


def status(connect: Connect, server: Server, query: str = "", **options: Any) -> int:
    """The status that a handshake is answered with."""
    try:
        connect(server, query, **options)
    except InvalidStatus as error:
        return error.response.status_code
    return 101


# --- handshakes ------------------------------------------------------------------------------------------


def test_a_server_that_needs_a_credential_takes_each_kind_from_each_place(
    bounded: Server, connect: Connect
) -> None:
    good = token()
    ways = [
        ("", bearer(good)),
        (f"?access_token={good}", {}),
        ("", bearer(bounded.api_key)),
        ("", {"additional_headers": {"X-API-Key": bounded.api_key}}),
        (f"?key={bounded.api_key}", {}),
    ]
    assert [status(connect, bounded, query, **options) for query, options in ways] == [101] * len(ways)
    assert status(connect, bounded) == 403


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused_everywhere(
    bounded: Server, open_to_all: Server, connect: Connect, name: str
) -> None:
    bad = bad_tokens()[name]
    for server in (bounded, open_to_all):
        assert status(connect, server, f"?access_token={bad}") == 403
        assert status(connect, server, **bearer(bad)) == 403
    assert status(connect, open_to_all) == 101


def test_a_server_that_is_open_knows_who_presents_a_token(open_to_all: Server, connect: Connect) -> None:
    peer = connect(open_to_all, **bearer(token(["channel:*"], sub="ann")))
    known = peer.ask("whoami")
    assert (known["name"], known["scopes"], known["subscribe"]) == ("ann", [], ["channel:*"])
    assert 0 < known["expires_in"] <= 900


def test_no_token_is_logged(bounded: Server, connect: Connect) -> None:
    good, bad = token(), bad_tokens()["expired"]
    assert status(connect, bounded, f"?access_token={good}") == 101
    assert status(connect, bounded, f"?access_token={bad}") == 403
    peer = connect(bounded, **bearer(good))
    assert peer.ask("authenticate", token=bad)["code"] == "unauthenticated"
    for secret in (good, bad):
        assert secret.rpartition(".")[2] not in bounded.log_text()


# --- rights ----------------------------------------------------------------------------------------------

NEEDS = [
    ("subscribe", "subscribe", "addresses", {}),
    ("history", "subscribe", "address", {}),
    ("presence", "subscribe", "address", {}),
    ("publish", "publish", "addresses", {"message": 1}),
]


@pytest.mark.parametrize(("type", "right", "field", "fields"), NEEDS, ids=[one[0] for one in NEEDS])
@pytest.mark.parametrize("pattern", ["the address", "a prefix", "everything"])
def test_each_request_needs_its_right_at_the_address(
    bounded: Server,
    connect: Connect,
    address: str,
    type: str,
    right: str,
    field: str,
    fields: dict[str, Any],
    pattern: str,
) -> None:
    patterns = {"the address": address, "a prefix": f"{address[:-2]}*", "everything": "*"}
    other = "publish" if right == "subscribe" else "subscribe"
    given = {field: [address] if field == "addresses" else address, **fields}

    allowed = connect(bounded, **bearer(token(**{right: [patterns[pattern]]})))
    assert allowed.ask(type, **given)["direction"] == "REPLY"
    for claims in ({other: ["*"]}, {right: ["channel:other", f"{address}x", "token:*"]}):
        refused = connect(bounded, **bearer(token(**claims)))
        assert refused.ask(type, **given)["code"] == "forbidden"


def test_one_forbidden_address_refuses_the_whole_request(
    bounded: Server, connect: Connect, address: str
) -> None:
    other = f"{address}-other"
    everything = connect(bounded, **bearer(token(["*"])))
    everything.ask("subscribe", addresses=[address, other])
    peer = connect(bounded, **bearer(token([address], [address])))

    assert peer.ask("publish", addresses=[address, other], message="no")["code"] == "forbidden"
    assert peer.ask("subscribe", addresses=[address, other])["code"] == "forbidden"
    assert peer.ask("whoami")["addresses"] == []
    batch = [
        {"addresses": [address], "message": "one"},
        {"addresses": [address, other], "message": "no"},
        {"addresses": [address], "message": "two"},
    ]
    results = peer.ask("publish_batch", messages=batch)["results"]
    assert ["error" in result for result in results] == [False, True, False]
    assert [frame["message"] for frame in everything.silent()] == ["one", "two"]


def test_a_connection_has_its_own_address(bounded: Server, connect: Connect) -> None:
    peer, other = connect(bounded, **bearer(token())), connect(bounded, **bearer(token()))
    own = peer.ask("whoami")["address"]
    peer.send({"direction": "REQUEST", "key": 1, "type": "publish", "addresses": [own], "message": "to me"})
    assert {frame.get("message") or frame["direction"] for frame in peer.silent()} == {"to me", "REPLY"}
    wait_until(lambda: peer.ask("presence", address=own)["count"] == 1)
    assert peer.ask("subscribe", addresses=[own])["direction"] == "REPLY"
    assert other.ask("publish", addresses=[own], message="no")["code"] == "forbidden"
    assert other.ask("presence", address=own)["code"] == "forbidden"


def test_a_group_of_tokens_needs_all_below_it(bounded: Server, connect: Connect) -> None:
    group = {"addresses": ["token:bus/"], "message": 1}
    assert (
        connect(bounded, **bearer(token([], ["token:bus/*"]))).ask("publish", **group)["direction"] == "REPLY"
    )
    assert (
        connect(bounded, **bearer(token([], ["token:bus/"]))).ask("publish", **group)["code"] == "forbidden"
    )


def test_a_key_is_for_its_addresses(bounded: Server, connect: Connect, address: str) -> None:
    peer = connect(bounded, f"?key={add_key(bounded, 'limited', ['publish', 'read'], [address])}")
    for name, direction in ((address, "REPLY"), (f"{address}x", "ERROR")):
        assert peer.ask("subscribe", addresses=[name])["direction"] == direction
        assert peer.ask("publish", addresses=[name], message=1)["direction"] == direction
        assert peer.ask("history", address=name)["direction"] == direction


# --- authenticate ----------------------------------------------------------------------------------------


def test_a_token_is_taken_by_authenticate(open_to_all: Server, connect: Connect, address: str) -> None:
    peer = connect(open_to_all)
    assert peer.ask("subscribe", addresses=[address])["code"] == "unauthenticated"
    taken = peer.ask("authenticate", token=token([address], sub="bea"))
    assert (taken["name"], taken["scopes"], taken["subscribe"], taken["publish"]) == (
        "bea",
        [],
        [address],
        [],
    )
    assert peer.ask("subscribe", addresses=[address])["direction"] == "REPLY"


@pytest.mark.parametrize("name", BAD)
def test_a_refused_token_changes_nothing(bounded: Server, connect: Connect, address: str, name: str) -> None:
    peer = connect(bounded, **bearer(token([address], sub="cay")))
    peer.ask("subscribe", addresses=[address])
    assert peer.ask("authenticate", token=bad_tokens()[name])["code"] == "unauthenticated"
    known = peer.ask("whoami")
    assert (known["name"], known["addresses"]) == ("cay", [address])


@pytest.mark.parametrize(
    "given", [{}, {"token": ""}, {"token": 1}, {"token": ["x"]}, {"token": "x", "api_key": "y"}]
)
def test_one_credential_is_given(bounded: Server, connect: Connect, given: dict[str, Any]) -> None:
    peer = connect(bounded, **bearer(token()))
    assert peer.ask("authenticate", **given)["code"] == "invalid"


def test_a_narrower_token_ends_subscriptions_that_it_does_not_cover(
    bounded: Server, connect: Connect, address: str
) -> None:
    kept = f"{address}-kept"
    peer, sender = (
        connect(bounded, **bearer(token(["channel:*"]))),
        connect(bounded, **bearer(token([], ["*"]))),
    )
    peer.ask("subscribe", addresses=[address, kept])
    peer.ask("authenticate", token=token([kept]))
    for name in (address, kept):
        sender.ask("publish", addresses=[name], message=name)
    assert [frame["message"] for frame in peer.silent()] == [kept]
    assert peer.ask("whoami")["addresses"] == [kept]


# --- the end ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["bounded", "open_to_all"])
def server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server


def test_a_token_that_expires_ends_its_connection_unless_it_is_refreshed(
    server: Server, connect: Connect, address: str
) -> None:
    def enter(end: float) -> tuple[list[Peer], Peer, Peer]:
        """Peers that refresh their token, and two whose token ends."""
        soon = token([address], exp=int(end))
        refreshed: list[Peer] = [connect(server, **bearer(soon)) for _ in range(2)]
        for peer in refreshed:
            peer.ask("subscribe", addresses=[address])
            assert peer.ask("authenticate", token=token([address]))["direction"] == "REPLY"
        expiring = connect(server, **bearer(soon))
        by_request = connect(server, **bearer(token()))
        assert by_request.ask("authenticate", token=soon)["direction"] == "REPLY"
        return refreshed, expiring, by_request

    refreshed, expiring, by_request = let_in(enter)
    assert expiring.close_code() == (4005, "credentials expired")
    assert by_request.close_code() == (4005, "credentials expired")
    assert [peer.ask("whoami")["addresses"] for peer in refreshed] == [[address]] * 2
