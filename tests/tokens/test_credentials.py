"""Access tokens and API keys on `/ws`: who is let in, and what each of them allows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_plain

from tests.services.databases import Databases
from tests.services.issuing import add_issuer, add_key, bad_tokens, change_key, token
from tests.services.running import running
from tests.services.server import Server
from tests.services.short_lived import let_in
from tests.services.waiting import wait_until
from tests.tokens.client import Client, call
from tests.tokens.conftest import Connect

BAD = ("expired", "unknown issuer", "other secret", "not a JWT")


@pytest.fixture(scope="module")
def bounded(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose clients need a credential."""
    with running(databases, tmp_path_factory.mktemp("bounded"), TOKENS_ACCESS="token") as server:
        add_issuer(server)
        yield server


@pytest.fixture(scope="module")
def open_to_all(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it comes, with an issuer."""
    with running(databases, tmp_path_factory.mktemp("open")) as server:
        add_issuer(server)
        yield server


def bearer(credential: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {credential}"}}


def status(server: Server, headers: dict[str, str], **query: str) -> int:
    """The status that a handshake is answered with."""
    url = f"{server.ws_url}/ws?{urlencode(query)}"
    try:
        with connect_plain(url, proxy=None, additional_headers=headers):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def identities(server: Server) -> list[str]:
    """Those of the clients that are listed; a row follows its connection."""
    shown = call(server, "GET", "/api/clients/?protocol=tokens").json()["results"]
    return [row["identity"] for row in shown]


def refused(server: Server) -> float:
    """Everything of this protocol that was refused as forbidden, until now."""
    line = 'switchboard_refused_total{protocol="tokens",reason="forbidden"} '
    lines = call(server, "GET", "/metrics").text.splitlines()
    return sum(float(one.removeprefix(line)) for one in lines if one.startswith(line))


@pytest.mark.parametrize("way", ["header", "access_token"])
@pytest.mark.parametrize("wrong", BAD)
@pytest.mark.parametrize("mode", ["bounded", "open_to_all"])
def test_a_bad_token_is_refused(request: Any, mode: str, wrong: str, way: str) -> None:
    server, bad = request.getfixturevalue(mode), bad_tokens()[wrong]
    if way == "header":
        assert status(server, {"Authorization": f"Bearer {bad}"}, RegisterToken="a") == 403
    else:
        assert status(server, {}, RegisterToken="a", access_token=bad) == 403


@pytest.mark.parametrize("mode", ["bounded", "open_to_all"])
def test_a_bad_key_is_refused(request: Any, mode: str) -> None:
    server = request.getfixturevalue(mode)
    assert status(server, {"X-API-Key": "sb_wrong"}) == 403
    assert status(server, {}, key="sb_wrong") == 403


def test_a_client_without_a_credential_is_refused(bounded: Server) -> None:
    assert status(bounded, {}, RegisterToken="a") == 403
    assert status(bounded, {}, access_token="") == 403
    assert status(bounded, {"Authorization": "Basic YTpi"}) == 403


def test_a_client_is_let_in_by_each_way_of_presenting(bounded: Server) -> None:
    good = token(["token:a"])
    assert status(bounded, {"Authorization": f"Bearer {good}"}, RegisterToken="a") == 101
    assert status(bounded, {}, RegisterToken="a", access_token=good) == 101
    assert status(bounded, {"Authorization": f"Bearer {bounded.api_key}"}, RegisterToken="a") == 101
    assert status(bounded, {"X-API-Key": bounded.api_key}, RegisterToken="a") == 101
    assert status(bounded, {}, RegisterToken="a", key=bounded.api_key) == 101


@pytest.mark.parametrize(
    ("subscribe", "wanted", "expected"),
    [
        (["token:a"], "a", 101),
        (["token:a"], "ab", 403),
        (["token:a*"], "ab", 101),
        (["*"], "ab", 101),
        (["token:g/"], "g/", 403),
        (["token:g/*"], "g/", 101),
        (["token:g/*"], "g/item1", 101),
        (["room:*"], "a", 403),
        ([], "a", 403),
    ],
)
def test_a_token_is_taken_in_the_handshake_where_the_credential_covers_it(
    bounded: Server, subscribe: list[str], wanted: str, expected: int
) -> None:
    good = token(subscribe, ["*"])
    assert status(bounded, {}, RegisterToken=wanted, access_token=good) == expected


def test_a_frame_that_registers_another_token_is_ignored_and_counted(
    bounded: Server, connect: Connect, name: str
) -> None:
    sender = connect(bounded, f"{name}s", **bearer(token(["token:*"], ["*"])))
    client = connect(bounded, f"{name}a", **bearer(token([f"token:{name}a*"])))
    before = refused(bounded)

    client.send(f"RegisterToken:{name}b")
    client.received()
    sender.send(f"{name}a|first")
    assert client.next_frame() == "first"
    assert refused(bounded) == before + 1

    client.send(f"RegisterToken:{name}a2")
    client.received()
    sender.send(f"{name}a,{name}b,{name}a2|second")
    assert client.next_frame() == "second"
    assert client.received() == []
    assert refused(bounded) == before + 1


def test_receivers_that_the_credential_does_not_cover_are_skipped_and_counted(
    bounded: Server, connect: Connect, name: str
) -> None:
    everything = token(["*"], ["*"])
    one, two = (connect(bounded, f"{name}{end}", **bearer(everything)) for end in ("1", "2"))
    sender = connect(bounded, None, **bearer(token([], [f"token:{name}1"])))
    before = refused(bounded)

    sender.send(f"{name}1,{name}2,{name}/|some")
    sender.send(f"{name}2|none")
    assert one.next_frame() == "some"
    sender.received()
    assert one.received() == two.received() == []
    assert refused(bounded) == before + 3


def test_a_group_needs_a_pattern_that_covers_all_below_it(
    bounded: Server, connect: Connect, name: str
) -> None:
    member = connect(bounded, f"{name}/item", **bearer(token(["*"])))
    narrow = connect(bounded, None, **bearer(token([], [f"token:{name}/", f"token:{name}/item"])))
    wide = connect(bounded, None, **bearer(token([], [f"token:{name}/*"])))

    narrow.send(f"{name}/|to the group")
    narrow.received()
    narrow.send(f"{name}/item|to one")
    assert member.next_frame() == "to one"
    wide.send(f"{name}/|to the group")
    assert member.next_frame() == "to the group"


def test_a_client_without_a_token_receives_nothing_that_it_may_not(bounded: Server, connect: Connect) -> None:
    sender = connect(bounded, None, **bearer(token([], ["*"])))
    other = connect(bounded, None, **bearer(token(["token:unregistered"])))

    sender.send("unregistered|hello")

    assert other.next_frame() == "hello"
    assert sender.received() == []


@pytest.mark.parametrize(
    ("scopes", "takes", "sends"),
    [(["read"], True, False), (["publish"], False, True), (["read", "publish"], True, True)],
)
def test_an_api_key_needs_the_scope(
    bounded: Server, connect: Connect, name: str, scopes: list[str], takes: bool, sends: bool
) -> None:
    key = add_key(bounded, "phone", scopes, [f"token:{name}*"])
    receiver = connect(bounded, f"{name}r", **bearer(token(["*"], ["*"])))

    assert status(bounded, {"X-API-Key": key}, RegisterToken=name) == (101 if takes else 403)
    assert status(bounded, {"X-API-Key": key}, RegisterToken="elsewhere") == 403
    client = connect(bounded, None, **bearer(key))
    client.send(f"{name}r|by key")
    client.received()
    assert receiver.received() == (["by key"] if sends else [])


def test_tokens_that_are_not_registered_are_refused_as_well(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> None:
    options = {"TOKENS_ACCESS": "token", "TOKENS_ALLOW_UNREGISTERED": "no"}
    with running(databases, tmp_path_factory.mktemp("both"), **options) as server:
        add_issuer(server)
        assert call(server, "POST", "/api/tokens/", {"token": "known"}).status == 201
        headers = {"Authorization": f"Bearer {token(['token:known', 'token:other'])}"}

        assert status(server, headers, RegisterToken="known") == 101
        assert status(server, headers, RegisterToken="other") == 403
        assert status(server, {"Authorization": f"Bearer {token(['token:x'])}"}, RegisterToken="known") == 403


def test_the_form_api_needs_a_credential_that_covers_the_receivers(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory, connect: Connect
) -> None:
    options = {"TOKENS_ACCESS": "token", "TOKENS_API_OPEN": "yes"}
    with running(databases, tmp_path_factory.mktemp("form"), **options) as server:
        add_issuer(server)
        receiver = connect(server, "a", **bearer(token(["*"])))

        def broadcast(receivers: str, credential: str) -> int:
            path = f"/?{urlencode({'method': 'broadcast', 'message': f'{receivers}|hello'})}"
            return call(server, "GET", path, X_API_Key="", Authorization=f"Bearer {credential}").status

        held = token([], ["token:a"])
        assert broadcast("a", "") == broadcast("a", bad_tokens()["expired"]) == 401
        assert broadcast("a,b", held) == broadcast("a", token(["*"])) == 403
        assert call(server, "GET", f"/?method=get_clients&key={held}", X_API_Key="").status == 403
        assert receiver.received() == []
        assert broadcast("a", held) == broadcast("a", server.api_key) == 200
        assert receiver.received() == ["hello", "hello"]


def test_an_open_server_bounds_nobody(open_to_all: Server, connect: Connect, name: str) -> None:
    client = connect(open_to_all, name, **bearer(token()))
    other = connect(open_to_all, f"{name}2")

    client.send(f"{name}2|hello")

    assert other.next_frame() == "hello"
    wait_until(lambda: name in identities(open_to_all))


@pytest.mark.parametrize("mode", ["bounded", "open_to_all"])
def test_a_connection_ends_with_its_token(request: Any, connect: Connect, name: str, mode: str) -> None:
    server = request.getfixturevalue(mode)

    def enter(end: float) -> Client:
        client = connect(server, name, **bearer(token(["*"], exp=end)))
        assert client.received() == []
        return client

    assert let_in(enter).close_code() == 4005


@pytest.mark.parametrize(("now", "code"), [(["token:elsewhere"], 4006), (None, 4005)])
def test_a_connection_ends_when_its_key_does_not_cover_its_token_any_longer(
    bounded: Server, connect: Connect, name: str, now: list[str] | None, code: int
) -> None:
    key = add_key(bounded, name, ["read"], [f"token:{name}*"])
    client = connect(bounded, name, **bearer(key))

    change_key(bounded, name, [f"token:{name}", "token:more"])
    change_key(bounded, name, now)

    assert client.close_code() == code


def test_no_credential_is_logged(bounded: Server, connect: Connect) -> None:
    bad, good = bad_tokens()["other secret"], token(["token:a"])
    assert status(bounded, {}, access_token=bad) == 403
    assert status(bounded, {}, access_token=good, RegisterToken="a") == 101
    log = bounded.log_text()

    assert "access token refused" in log
    for secret in (bad, good, bounded.api_key):
        assert secret not in log
        assert secret.rpartition(".")[2] not in log
