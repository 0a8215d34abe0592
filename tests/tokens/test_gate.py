"""The gate: who may connect and take a token while it is closed, and what revoking does."""

from __future__ import annotations

import pytest

from tests.conftest import ServerFactory
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.tokens.client import call, form, refusal
from tests.tokens.conftest import Connect

REVOKED = 4403


@pytest.mark.parametrize("token", [None, "", "unknown", "unregistered", "unregstered"])
def test_decisions_13_and_14_closed_gate_refuses_with_403(gated: Server, token: str | None) -> None:
    assert refusal(gated, token) == 403


def test_open_gate_lets_everybody_in(broker: Server, connect: Connect, name: str) -> None:
    form(broker, "registerToken", token=name)
    form(broker, "unregisterToken", token=name)

    for token in (None, "", "unknown", name):
        assert connect(broker, token).hears() == []


@pytest.mark.parametrize("token", ["a,b", "a|b", "a\x00b", "x" * 256])
def test_impossible_token_in_the_query_is_refused_by_any_gate(
    broker: Server, gated: Server, token: str
) -> None:
    assert refusal(broker, token) == 403
    assert refusal(gated, token) == 403


def test_closed_gate_lets_registered_and_enabled_tokens_in(
    gated: Server, connect: Connect, name: str
) -> None:
    assert refusal(gated, name) == 403

    form(gated, "registerToken", token=name)
    assert connect(gated, name).hears() == []

    form(gated, "unregisterToken", token=name)
    assert refusal(gated, name) == 403
    assert form(gated, "registeredTokenList").json()[name] is False


def test_decision_12_in_band_token_must_be_registered_while_the_gate_is_closed(
    gated: Server, connect: Connect, name: str
) -> None:
    for token in (name, f"{name}/other"):
        form(gated, "registerToken", token=token)
    client = connect(gated, name)

    for token in ("unknown", "unregistered", "", f"{name}/"):
        client.send(f"RegisterToken:{token}")
    client.send(f"{name},unknown,unregistered|old")
    client.send(f"RegisterToken:{name}/other")
    client.send(f"{name}|gone")
    client.send(f"{name}/other|new")

    assert client.hears() == ["old", "new"]


def test_decision_23_unregistering_closes_while_the_gate_is_closed(
    gated: Server, connect: Connect, name: str
) -> None:
    for token in (name, f"{name}/other"):
        form(gated, "registerToken", token=token)
    revoked = [connect(gated, name), connect(gated, name)]
    other = connect(gated, f"{name}/other")

    reply = form(gated, "unregisterToken", token=name)

    assert reply.json() == {"ok": True, "changed": "disabled"}
    assert [client.close_code() for client in revoked] == [REVOKED, REVOKED]
    assert other.hears() == []
    assert refusal(gated, name) == 403


def test_decision_23_unregistering_leaves_clients_while_the_gate_is_open(
    broker: Server, connect: Connect, name: str
) -> None:
    form(broker, "registerToken", token=name)
    client = connect(broker, name)

    form(broker, "unregisterToken", token=name)
    client.send(f"{name}|still")

    assert client.hears() == ["still"]


def test_client_that_has_changed_its_token_is_closed_with_the_new_one(
    gated: Server, connect: Connect, name: str
) -> None:
    for token in (name, f"{name}2"):
        form(gated, "registerToken", token=token)
    client = connect(gated, name)
    client.send(f"RegisterToken:{name}2")
    assert client.hears() == []

    form(gated, "unregisterToken", token=name)
    assert client.hears() == []

    form(gated, "unregisterToken", token=f"{name}2")
    assert client.close_code() == REVOKED


def test_revoking_a_prefix_token_spares_the_tokens_below_it(
    gated: Server, connect: Connect, name: str
) -> None:
    for token in (f"{name}/", f"{name}/below"):
        form(gated, "registerToken", token=token)
    client, below = connect(gated, f"{name}/"), connect(gated, f"{name}/below")

    form(gated, "unregisterToken", token=f"{name}/")

    assert client.close_code() == REVOKED
    assert below.hears() == []


@pytest.mark.parametrize("way", ["delete", "disable"])
def test_rest_revokes_as_well(gated: Server, connect: Connect, name: str, way: str) -> None:
    row = call(gated, "POST", "/api/tokens/", {"token": name}).json()
    client = connect(gated, name)

    if way == "delete":
        assert call(gated, "DELETE", f"/api/tokens/{row['id']}/").status == 204
    else:
        assert call(gated, "PATCH", f"/api/tokens/{row['id']}/", {"enabled": False}).status == 200

    assert client.close_code() == REVOKED
    assert refusal(gated, name) == 403


def test_decision_23_revoking_reaches_other_processes(
    server: ServerFactory, connect: Connect, redis_url: str
) -> None:
    options = {"REDIS_URL": redis_url, "TOKENS_ALLOW_UNREGISTERED": "no"}
    one = server(**options)
    other = server(DATABASE_URL=one.database_url, **options)
    form(one, "registerToken", token="abc1")
    here, there = connect(one, "abc1"), connect(other, "abc1")

    there.send("abc1|across")
    assert [here.hears_next(), there.hears_next()] == ["across", "across"]
    form(one, "unregisterToken", token="abc1")

    assert [here.close_code(), there.close_code()] == [REVOKED, REVOKED]
    assert refusal(other, "abc1") == 403


def test_revoking_by_a_command_beside_the_server_keeps_new_clients_out(
    gated: Server, connect: Connect, name: str
) -> None:
    form(gated, "registerToken", token=name)
    assert connect(gated, name).hears() == []
    table = gated.folder / f"{name}.json"
    table.write_text(f'{{"{name}": false}}')

    assert "1 disabled" in gated.manage("import_tokens", str(table))

    assert refusal(gated, name) == 403


def test_refusals_are_counted(gated: Server) -> None:
    def refused() -> float:
        text = call(gated, "GET", "/metrics").text
        lines = [
            line for line in text.splitlines() if 'refused_total{protocol="tokens",reason="gate"}' in line
        ]
        return sum(float(line.split()[-1]) for line in lines)

    before = refused()
    for _ in range(3):
        refusal(gated, "unknown")

    wait_until(lambda: refused() == before + 3)


def test_decision_34_no_token_in_the_log(gated: Server, connect: Connect, name: str) -> None:
    token = f"secret-{name}"
    form(gated, "registerToken", token=token)
    client = connect(gated, token)
    client.send(f"{token}|body-{name}")
    client.hears()
    form(gated, "unregisterToken", token=token)
    refusal(gated, token)
    call(gated, "GET", f"/?method=unregisterToken&token={token}|")

    assert name not in gated.log_text()
