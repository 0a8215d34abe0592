"""Every protocol on a real server: what carries a revoked name ends, and stays out until that is lifted."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.events.client import new_user
from tests.revocations.clients import (
    EVERY_PROTOCOL,
    REVOKED,
    Client,
    Events,
    Http,
    Issuer,
    Kinds,
    Plain,
    Polling,
    Refused,
    Requests,
    SocketIO,
    Stream,
    Tokens,
    acall,
    lift,
    revoke,
)
from tests.services.server import Server
from tests.services.waiting import until

REFUSED = ("/api/clients/", "/sessions", "/bus-message/r1", "/healthcheck", "/metrics")


async def ends_and_stays_out(client: Client, **fields: Any) -> None:
    """One name is revoked: the client ends, is refused, and comes again once that is lifted."""
    opened = await client.open()
    path = await revoke(client.server, **fields)
    assert await client.ended(opened) == REVOKED
    refused = await until(lambda: refusal(client))
    assert refused in (401, 403, {"message": "credentials revoked"}), refused

    await lift(client.server, path)
    assert await until(lambda: comes_in(client))


async def refusal(client: Client) -> Any:
    """The answer that refuses; another worker may be told a moment later, and then ends what it let in."""
    try:
        opened = await client.open()
    except Refused as refused:
        return refused.how
    except ConnectionClosed:  # told of it while it was let in
        return None
    assert await client.ended(opened) == REVOKED
    return None


async def is_out(client: Client) -> bool:
    """True when every worker knows, as far as ten tries tell."""
    return all([await refusal(client) is not None for _ in range(10)])


async def comes_in(client: Client) -> bool:
    """On another worker a lifted revocation may hold for some seconds."""
    try:
        await client.open()
    except Refused:
        return False
    return True


def with_key(client: Client) -> Client:
    """Streams are for those who may read."""
    if isinstance(client, Stream):
        client.headers["X-API-Key"] = client.server.api_key
    return client


@pytest.mark.parametrize("kind", EVERY_PROTOCOL)
async def test_a_network_on_every_protocol(broker: Server, stack: AsyncExitStack, kind: Kinds):
    client, other = with_key(kind(broker, stack)), with_key(kind(broker, stack))
    others = await other.open()
    await ends_and_stays_out(client, network=client.host)

    path = await revoke(broker, network=other.host)
    assert await other.ended(others) == REVOKED
    await lift(broker, path)


async def test_a_token(broker: Server, stack: AsyncExitStack):
    client = Tokens(broker, stack)
    await ends_and_stays_out(client, token=client.token)


async def test_a_revoked_token_cannot_be_taken_later(broker: Server, stack: AsyncExitStack):
    client, doomed = Tokens(broker, stack), Tokens(broker, stack)
    path = await revoke(broker, token=doomed.token)
    await until(lambda: is_out(doomed))
    socket = await client.open()
    await socket.send(f"RegisterToken:{doomed.token}")
    await socket.send("Echo:here")
    assert await socket.recv() == "here"
    status, answer = await acall(
        broker, "POST", "/api/publish", {"addresses": [f"token:{client.token}"], "message": "still"}
    )
    assert (status, await socket.recv()) == (200, "still"), answer
    await lift(broker, path)


@pytest.mark.parametrize("prefix", ["n::", ""], ids=["as sockets write it", "as REST writes it"])
async def test_the_root_id_of_an_events_user(broker: Server, stack: AsyncExitStack, prefix: str):
    user = await asyncio.to_thread(new_user, broker)
    client = Events(broker, stack, headers={"Authorization": f"Bearer {user.token}"})
    public = await Events(broker, stack).open()
    path = "/walker/nothing"
    assert (await acall(broker, "POST", path, {}, Authorization=f"Bearer {user.token}"))[0] != 401
    subject = prefix + user.root_id.removeprefix("n::")
    await ends_and_stays_out(client, subject=subject)
    await revoke(broker, subject=subject)
    await until(lambda: is_out(client))
    answer = await acall(broker, "POST", "/user/change_password", {}, Authorization=f"Bearer {user.token}")
    assert answer[0] == 401
    assert public.close_code is None


async def test_a_revoked_network_reaches_nothing_over_http_but_the_admin(
    broker: Server, stack: AsyncExitStack
):
    client = Http(broker, stack, headers={"X-API-Key": broker.api_key})
    path = await revoke(broker, network=f"{client.host}/32")
    await until(lambda: is_out(Plain(broker, stack, client.host)))
    statuses = {one: (await client.get(one))[0] for one in (*REFUSED, "/admin/login/", "/health/live")}
    await lift(broker, path)
    assert statuses == {**dict.fromkeys(REFUSED, 403), "/admin/login/": 200, "/health/live": 200}


async def test_a_session_is_not_moved_to_a_socket_of_a_revoked_network(broker: Server, stack: AsyncExitStack):
    """The network that counts is also that of the WebSocket to which an Engine.IO session moves."""
    polling, elsewhere = Polling(broker, stack), Plain(broker, stack)
    sid = await polling.open()
    elsewhere.path = f"/socket.io/?EIO=4&transport=websocket&sid={sid}"
    path = await revoke(broker, network=elsewhere.host)
    await until(lambda: is_out(Plain(broker, stack, elsewhere.host)))
    with pytest.raises(Refused, match="403"):
        await elsewhere.open()
    await lift(broker, path)
    await until(lambda: is_let_in(elsewhere))  # what the database has said holds for two seconds


async def is_let_in(client: Plain) -> bool:
    try:
        await client.open()
    except Refused:
        return False
    return True


@pytest.mark.parametrize("kind", [Requests, Stream])
async def test_an_api_key(broker: Server, stack: AsyncExitStack, kind: Kinds):
    key = await new_key(broker)
    client = kind(broker, stack, headers={"X-API-Key": key})
    assert (await acall(broker, "GET", "/api/clients/", X_API_Key=key))[0] == 200
    await ends_and_stays_out(client, key=key[:8])
    await revoke(broker, key=key[:8])
    await until(lambda: is_out(client))
    assert (await acall(broker, "GET", "/api/clients/", X_API_Key=key))[0] == 401
    published = {"addresses": ["token:x"], "message": 1}
    assert (await acall(broker, "POST", "/api/publish", published, X_API_Key=key))[0] == 401


async def new_key(broker: Server) -> str:
    """An API key of its own."""
    code = "from routing_app.core.access import keys; print(keys.issue('revocable')[1])"
    return (await asyncio.to_thread(broker.manage, "shell", "-v", "0", "-c", code)).split()[-1]


@pytest.mark.parametrize("name", ["subject", "jti"])
@pytest.mark.parametrize("kind", [Tokens, Plain, SocketIO, Events, Requests, Stream])
async def test_an_access_token(broker: Server, issuer: Issuer, stack: AsyncExitStack, kind: Kinds, name: str):
    client = kind(broker, stack)
    token = issuer.token(client.token, jti=f"j-{client.token}")
    client.present(token)
    other = kind(broker, stack)
    other.present(issuer.token(f"{client.token}-2", jti="j"))
    stays = await other.open()
    await ends_and_stays_out(client, **{name: client.token if name == "subject" else f"j-{client.token}"})

    path = await revoke(broker, subject=f"{client.token}-2")
    assert await other.ended(stays) == REVOKED
    await lift(broker, path)


async def test_tokens_of_before_alone(broker: Server, issuer: Issuer, stack: AsyncExitStack):
    now = int(time.time())
    old, new = Requests(broker, stack), Requests(broker, stack)
    old.present(issuer.token(old.token, iat=now - 100))
    new.present(issuer.token(old.token, iat=now))
    opened, stays = await old.open(), await new.open()
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 50))
    path = await revoke(broker, subject=old.token, issued_before=before)
    assert await old.ended(opened) == REVOKED
    assert await until(lambda: refusal(old)) == 403
    await new.open()
    assert stays.close_code is None
    await lift(broker, path)


async def test_a_revoked_token_does_not_replace_what_a_client_is(
    broker: Server, issuer: Issuer, stack: AsyncExitStack
):
    """`authenticate` and `change_user` are refused in the words of each protocol, and nothing changes."""
    user = await asyncio.to_thread(new_user, broker)
    requests, events = Requests(broker, stack), Events(broker, stack)
    requests.present(issuer.token(requests.token))
    peer, public = await requests.open(), await events.open()
    hello = json.loads(await public.recv())
    bad = issuer.token(events.token)
    paths = [await revoke(broker, subject=events.token), await revoke(broker, subject=user.root_id)]
    for token in (bad, user.token):
        events.present(token)
        await until(lambda: is_out(events))

    await peer.send(json.dumps({"direction": "REQUEST", "key": "1", "type": "authenticate", "token": bad}))
    answer = json.loads(await peer.recv())
    assert (answer["direction"], answer["code"]) == ("ERROR", "unauthenticated"), answer
    for token in (bad, user.token):
        await public.send(json.dumps({"type": "change_user", "token": token}))
        assert "revoked" in str(await public.recv())
    await public.send(json.dumps({"type": "connection"}))
    assert json.loads(await public.recv()) == hello
    status, _ = await acall(
        broker, "GET", "/api/history?address=token:x", X_API_Key="", Authorization=f"Bearer {bad}"
    )
    assert status == 401
    for path in paths:
        await lift(broker, path)
