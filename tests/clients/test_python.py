"""The Python client: the shared table, reconnects, and its façade for synchronous code."""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from switchboard_client import (
    Connection,
    ConnectionClosed,
    Context,
    Delivery,
    Refused,
    RequestError,
    connect,
    connect_sync,
)
from switchboard_client.dialing import AT_ONCE, STAY_AWAY, waits

from routing_app.core.codes import CLOSES, Advice
from tests.clients.cases import CASES, Case
from tests.clients.conftest import Launch
from tests.requests.peer import call
from tests.services.ports import free_port
from tests.services.server import Server
from tests.services.waiting import wait_until


def url_of(server: Server) -> str:
    return f"{server.ws_url}/connection"


def own(message: dict[str, Any]) -> dict[str, Any]:
    """Without the control fields, also in what came with an answer."""
    return {
        name: own(value) if name in ("got", "error") else value
        for name, value in message.items()
        if name not in ("key", "direction")
    }


# --- the shared table ------------------------------------------------------------------------------------


def register_handlers(connection: Connection) -> None:
    @connection.on("request", "double")
    async def double(context: Context) -> None:
        await context.partial({"n": 1})
        await context.reply({"twice": 2 * context.message["x"]})

    @connection.on("request", "refuse")
    async def refuse(context: Context) -> None:
        await context.error({"code": "mine"})

    @connection.on("request", "break")
    def broken(context: Context) -> None:
        raise RuntimeError("broken on purpose")


async def request(connection: Connection, message: dict[str, Any], also: Any = None, **options: Any) -> Any:
    try:
        first = connection.request(also) if also else None
        asked = connection.request(message, **options)
        partials = [own(partial) async for partial in asked]
        reply = await (first or asked)
    except RequestError as error:
        return {"error": own(error.message)}
    except ConnectionClosed as closed:
        return {"closed": [closed.code, closed.reason]}
    except TimeoutError:
        return {"timeout": True}
    except ValueError:
        return {"refused": True}
    return {"partials": partials, "reply": own(reply.message)}


async def send(connection: Connection, message: dict[str, Any]) -> str:
    try:
        await connection.send(message, timeout=60)
    except ValueError:
        return "refused"
    return "sent"


async def close(connection: Connection, code: int, reason: str) -> str:
    try:
        await connection.close(code, reason)
    except ValueError:
        return "refused"
    with pytest.raises(ConnectionClosed):
        await connection.send({})
    return "closed"


async def receive(connection: Connection, message: Any) -> dict[str, Any]:
    received: asyncio.Queue[Delivery] = asyncio.Queue()
    connection.on("delivery", received.put_nowait)
    address = f"channel:{secrets.token_hex(4)}"
    await connection.subscribe(address)
    await connection.publish([address], message)
    delivery = await asyncio.wait_for(received.get(), 60)
    assert delivery.address == address
    return {"message": delivery.message}


OPERATIONS: dict[str, Callable[..., Any]] = {
    "request": request,
    "send": send,
    "close": close,
    "receive": receive,
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_case(broker: Server, case: Case, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "switchboard_client")
    async with await connect(url_of(broker), key=broker.api_key, reconnect=False) as connection:
        register_handlers(connection)
        assert await OPERATIONS[case.operation](connection, **case.given) == case.expected


# --- what the table cannot say ---------------------------------------------------------------------------


@pytest.fixture
async def connection(one_worker: Server) -> AsyncIterator[Connection]:
    async with await connect(url_of(one_worker), key=one_worker.api_key) as connection:
        yield connection


async def test_the_id_is_a_version_4_uuid(connection: Connection) -> None:
    assert uuid.UUID(connection.id).version == 4


async def test_send_returns_when_the_server_has_the_message(connection: Connection) -> None:
    assert connection.receipts
    await connection.request({"type": "clear log"})
    await connection.send({"type": "note", "text": "here"})

    assert "here" in (await connection.request({"type": "log"}))["log"]


async def test_frames_keep_the_order_of_the_calls(one_worker: Server) -> None:
    async with await connect(url_of(one_worker), receipts=False) as connection:
        await connection.request({"type": "clear log"})
        for n in range(50):
            await connection.send({"type": "note", "text": n})
            request = connection.request({"type": "log"})
            await connection.send({"type": "note", "text": -n})
            assert (await request)["log"][-1] == n


async def test_replies_are_for_their_requests(connection: Connection) -> None:
    replies = await asyncio.gather(
        *(connection.request({"type": "echo", "n": n}) for n in range(500)),
    )
    assert [reply["n"] for reply in replies] == list(range(500))


async def test_a_cancelled_request_is_forgotten(connection: Connection) -> None:
    task = asyncio.ensure_future(asyncio.wait_for(connection.request({"type": "late", "seconds": 0.1}), 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not connection._waiting
    await connection.request({"type": "late", "seconds": 0.2})


async def test_partials_that_nobody_reads_end_the_request(connection: Connection) -> None:
    request = connection.request({"type": "partials", "count": 1500})
    async with asyncio.timeout(60):
        while not request.done:
            await asyncio.sleep(0.01)
    with pytest.raises(RequestError, match="not read"):
        async for _ in request:
            pass
    assert (await connection.request({"type": "partials", "count": 1500}))["done"] is True


async def test_a_wrong_key_and_a_wrong_path_are_refused(one_worker: Server) -> None:
    with pytest.raises(Refused, match="403"):
        await connect(url_of(one_worker), key="swk_wrong_key_that_nobody_has")
    with pytest.raises(Refused):
        await connect(f"{one_worker.ws_url}/nothing-here")
    with pytest.raises(ConnectionRefusedError):
        await connect(f"ws://127.0.0.1:{free_port()}/connection")


async def test_a_right_that_is_missing_is_an_error(one_worker: Server) -> None:
    async with await connect(url_of(one_worker)) as connection:
        with pytest.raises(RequestError) as error:
            await connection.subscribe("token:x")
        assert error.value.code == "unauthenticated"
        await connection.authenticate(one_worker.api_key)
        await connection.subscribe("token:x")


@pytest.mark.once
async def test_after_a_restart_it_is_back_with_its_rights_and_its_addresses(
    launch: Launch, databases: Any
) -> None:
    options = {"PORT": str(free_port()), "DATABASE_URL": databases.create(), "DRAIN_SECONDS": "1"}
    first = launch(**options)
    connection = await connect(url_of(first))
    back, received = asyncio.Event(), asyncio.Queue[Delivery]()
    connection.on("reconnect", lambda _: back.set())
    connection.on("delivery", received.put_nowait)
    await connection.authenticate(first.api_key)
    await connection.subscribe("channel:a", "channel:b")
    await connection.unsubscribe("channel:b")
    waiting = connection.request({"type": "late", "seconds": 30})
    await asyncio.to_thread(first.stop)
    with pytest.raises(ConnectionClosed) as closed:
        await waiting
    assert closed.value.code == 1012

    await asyncio.to_thread(launch, **options)
    await asyncio.wait_for(back.wait(), 60)
    assert (await connection.request({"type": "whoami"}))["addresses"] == ["channel:a"]
    await connection.publish(["channel:a"], "again")
    assert (await asyncio.wait_for(received.get(), 60)).message == "again"
    await connection.close()


async def test_it_stays_away_when_an_operator_has_disconnected_it(one_worker: Server) -> None:
    connection = await connect(url_of(one_worker))
    path = f"/api/clients/{(await connection.request({'type': 'whoami'}))['id']}/disconnect/"
    # Listed when the database has it.
    await asyncio.to_thread(wait_until, lambda: call(one_worker, path, {})[0] == 202)

    closed = await asyncio.wait_for(connection.closed(), 60)
    assert closed.code == 4003
    with pytest.raises(ConnectionClosed):
        await connection.opened()


def test_every_close_code_of_the_server_has_the_advice_that_the_client_follows() -> None:
    for close in CLOSES:
        for code in {close.code, close.portable_code}:
            assert (code in STAY_AWAY) == (close.advice is Advice.STAY_AWAY), close
            assert (code in AT_ONCE) == (close.advice is Advice.NOW), close


def test_waits_grow_are_jittered_and_stay_bounded() -> None:
    runs = [[next(wait) for _ in range(12)] for wait in [waits(1006) for _ in range(200)]]
    assert len({run[0] for run in runs}) > 100
    assert all(max(column) <= min(30, 2**n) for n, column in enumerate(zip(*runs, strict=True)))
    assert max(run[-1] for run in runs) > 20


def test_the_facade_for_synchronous_code(one_worker: Server) -> None:
    with connect_sync(url_of(one_worker), key=one_worker.api_key) as connection:
        received: list[Any] = []
        connection.on("delivery", lambda delivery: received.append(delivery.message))
        connection.send({"type": "note", "text": "sync"})
        assert connection.request({"type": "echo", "x": 1})["x"] == 1
        stream = [own(answer) for answer in connection.stream({"type": "question"})]
        assert stream == [{"n": 1}, {"n": 2}, {"answer": "ok"}]
        with pytest.raises(RequestError):
            connection.request({"type": "fail"})
        with pytest.raises(TimeoutError):
            connection.request({"type": "late", "seconds": 30}, timeout=0.1)
        connection.subscribe("channel:sync")
        connection.publish(["channel:sync"], "received")
        assert connection.request({"type": "whoami"})["addresses"] == ["channel:sync"]
        assert received == ["received"]
        for answer in connection.stream({"type": "partials", "count": 3}):
            assert answer["n"] == 0
            break
        assert "read" in connection.authenticate(one_worker.api_key)["scopes"]
        connection.opened()
        assert connection.is_open
    with pytest.raises(Refused):
        connect_sync(url_of(one_worker), key="swk_wrong_key_that_nobody_has")


def test_a_handler_that_would_block_its_own_connection_is_told(one_worker: Server) -> None:
    with connect_sync(url_of(one_worker), key=one_worker.api_key) as connection:
        told: list[str] = []

        def ask(context: Context) -> None:
            with pytest.raises(RuntimeError, match="may not block"):
                connection.request({"type": "whoami"})
            told.append("told")

        async def answer(context: Context) -> None:
            await context.reply({"who": (await connection.inner.request({"type": "whoami"}))["name"]})

        connection.on("message", "told", ask)
        connection.on("request", "who", answer)
        connection.request({"type": "send me", "send": {"type": "told"}})
        assert connection.request({"type": "ask me", "ask": {"type": "who"}})["got"]["who"]
        assert told == ["told"]


@pytest.mark.once
async def test_a_wrong_url_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        await connect("nonsense")
