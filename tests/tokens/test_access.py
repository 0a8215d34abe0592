"""Access: connecting and taking a token where only registered ones may, and the effect of revoking."""

from __future__ import annotations

import pytest

from tests.conftest import ServerFactory
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.tokens.client import call, form, refusal
from tests.tokens.conftest import Connect

REVOKED = 4403


@pytest.mark.parametrize("token", [None, "", "unknown", "unregistered", "unregstered"])
def test_decisions_13_and_14_unregistered_tokens_are_refused_with_403(
    registered_only: Server, token: str | None
) -> None:
    assert refusal(registered_only, token) == 403


def test_by_default_every_token_may_connect(broker: Server, connect: Connect, name: str) -> None:
    form(broker, "registerToken", token=name)
    form(broker, "unregisterToken", token=name)

    for token in (None, "", "unknown", name):
        assert connect(broker, token).received() == []


@pytest.mark.parametrize("token", ["a,b", "a|b", "a\x00b", "x" * 256])
def test_impossible_token_in_the_query_is_refused_by_every_server(
    broker: Server, registered_only: Server, token: str
) -> None:
    assert refusal(broker, token) == 403
    assert refusal(registered_only, token) == 403


def test_registered_and_enabled_tokens_are_let_in(
    registered_only: Server, connect: Connect, name: str
) -> None:
    assert refusal(registered_only, name) == 403

    form(registered_only, "registerToken", token=name)
    assert connect(registered_only, name).received() == []

    form(registered_only, "unregisterToken", token=name)
    assert refusal(registered_only, name) == 403
    assert form(registered_only, "registeredTokenList").json()[name] is False


def test_decision_12_a_token_taken_in_band_must_be_registered_too(
    registered_only: Server, connect: Connect, name: str
) -> None:
    for token in (name, f"{name}/other"):
        form(registered_only, "registerToken", token=token)
    client = connect(registered_only, name)

    for token in ("unknown", "unregistered", "", f"{name}/"):
        client.send(f"RegisterToken:{token}")
    client.send(f"{name},unknown,unregistered|old")
    client.send(f"RegisterToken:{name}/other")
    client.send(f"{name}|gone")
    client.send(f"{name}/other|new")

    assert client.received() == ["old", "new"]


def test_decision_23_unregistering_closes_where_only_registered_tokens_may_connect(
    registered_only: Server, connect: Connect, name: str
) -> None:
    for token in (name, f"{name}/other"):
        form(registered_only, "registerToken", token=token)
    revoked = [connect(registered_only, name), connect(registered_only, name)]
    other = connect(registered_only, f"{name}/other")

    reply = form(registered_only, "unregisterToken", token=name)

    assert reply.json() == {"ok": True, "changed": "disabled"}
    assert [client.close_code() for client in revoked] == [REVOKED, REVOKED]
    assert other.received() == []
    assert refusal(registered_only, name) == 403


def test_decision_23_unregistering_leaves_clients_where_every_token_may_connect(
    broker: Server, connect: Connect, name: str
) -> None:
    form(broker, "registerToken", token=name)
    client = connect(broker, name)

    form(broker, "unregisterToken", token=name)
    client.send(f"{name}|still")

    assert client.received() == ["still"]


def test_client_that_has_changed_its_token_is_closed_with_the_new_one(
    registered_only: Server, connect: Connect, name: str
) -> None:
    for token in (name, f"{name}2"):
        form(registered_only, "registerToken", token=token)
    client = connect(registered_only, name)
    client.send(f"RegisterToken:{name}2")
    assert client.received() == []

    form(registered_only, "unregisterToken", token=name)
    assert client.received() == []

    form(registered_only, "unregisterToken", token=f"{name}2")
    assert client.close_code() == REVOKED


def test_revoking_a_prefix_token_spares_the_tokens_below_it(
    registered_only: Server, connect: Connect, name: str
) -> None:
    for token in (f"{name}/", f"{name}/below"):
        form(registered_only, "registerToken", token=token)
    client, below = connect(registered_only, f"{name}/"), connect(registered_only, f"{name}/below")

    form(registered_only, "unregisterToken", token=f"{name}/")

    assert client.close_code() == REVOKED
    assert below.received() == []


@pytest.mark.parametrize("way", ["delete", "disable"])
def test_rest_revokes_as_well(registered_only: Server, connect: Connect, name: str, way: str) -> None:
    row = call(registered_only, "POST", "/api/tokens/", {"token": name}).json()
    client = connect(registered_only, name)

    if way == "delete":
        assert call(registered_only, "DELETE", f"/api/tokens/{row['id']}/").status == 204
    else:
        assert call(registered_only, "PATCH", f"/api/tokens/{row['id']}/", {"enabled": False}).status == 200

    assert client.close_code() == REVOKED
    assert refusal(registered_only, name) == 403


def test_decision_23_revoking_reaches_other_processes(
    server: ServerFactory, connect: Connect, redis_url: str
) -> None:
    options = {"REDIS_URL": redis_url, "TOKENS_ALLOW_UNREGISTERED": "no"}
    one = server(**options)
    other = server(DATABASE_URL=one.database_url, **options)
    form(one, "registerToken", token="abc1")
    here, there = connect(one, "abc1"), connect(other, "abc1")

    there.send("abc1|across")
    assert [here.next_frame(), there.next_frame()] == ["across", "across"]
    form(one, "unregisterToken", token="abc1")

    assert [here.close_code(), there.close_code()] == [REVOKED, REVOKED]
    assert refusal(other, "abc1") == 403


def test_revoking_by_a_command_beside_the_server_keeps_new_clients_out(
    registered_only: Server, connect: Connect, name: str
) -> None:
    form(registered_only, "registerToken", token=name)
    assert connect(registered_only, name).received() == []
    table = registered_only.folder / f"{name}.json"
    table.write_text(f'{{"{name}": false}}')

    assert "1 disabled" in registered_only.manage("import_tokens", str(table))

    assert refusal(registered_only, name) == 403


def test_refusals_are_counted(registered_only: Server) -> None:
    def refused() -> float:
        text = call(registered_only, "GET", "/metrics").text
        lines = [
            line for line in text.splitlines() if 'refused_total{protocol="tokens",reason="gate"}' in line
        ]
        return sum(float(line.split()[-1]) for line in lines)

    before = refused()
    for _ in range(3):
        refusal(registered_only, "unknown")

    wait_until(lambda: refused() == before + 3)


def test_decision_34_no_token_in_the_log(registered_only: Server, connect: Connect, name: str) -> None:
    token = f"secret-{name}"
    form(registered_only, "registerToken", token=token)
    client = connect(registered_only, token)
    client.send(f"{token}|body-{name}")
    client.received()
    form(registered_only, "unregisterToken", token=token)
    refusal(registered_only, token)
    call(registered_only, "GET", f"/?method=unregisterToken&token={token}|")

    assert name not in registered_only.log_text()
