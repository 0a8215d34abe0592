"""The base socket, on its way out: whatever ends it, one clean-up runs once and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.db import OperationalError

from routing_app.core import codes, consumer
from routing_app.core.access.admission import Refused
from routing_app.core.cluster.relay import Relay
from routing_app.core.delivery.connection import ConnectionState
from routing_app.core.delivery.writer import EXTENSION
from routing_app.core.worker import Worker
from tests.core.harness import replaced
from tests.core.sockets import Client, Ledger, Probe, fail, raises
from tests.services.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


async def by_the_client(client: Client, probe: Probe) -> int | None:
    await client.send_input({"type": "websocket.disconnect", "code": 1001})
    return None


async def by_its_id(client: Client, probe: Probe) -> int | None:
    assert await probe.worker.hub.close(f"connection:{probe.connection.id}") == 1
    return codes.KICKED.code


async def by_its_address(client: Client, probe: Probe) -> int | None:
    assert await probe.worker.hub.close("token:b", codes.EXPIRED) == 1
    return codes.EXPIRED.code


async def by_drain(client: Client, probe: Probe) -> int | None:
    assert await probe.worker.drain() == 1
    return codes.RESTART.portable_code


async def by_an_exception(client: Client, probe: Probe) -> int | None:
    probe.act["received"] = fail
    await client.send_to("fail")
    return codes.INTERNAL.portable_code


async def by_a_service_that_is_down(client: Client, probe: Probe) -> int | None:
    probe.act["received"] = raises(OperationalError("gone"))
    await client.send_to("fail")
    return codes.UNAVAILABLE.code


async def by_a_refusal(client: Client, probe: Probe) -> int | None:
    probe.act["received"] = raises(Refused(codes.EXPIRED))
    await client.send_to("fail")
    return codes.EXPIRED.code


async def by_binary(client: Client, probe: Probe) -> int | None:
    await client.send_to(bytes_data=b"x")
    return codes.UNSUPPORTED_DATA.portable_code


WAYS = [
    by_the_client,
    by_its_id,
    by_its_address,
    by_drain,
    by_an_exception,
    by_a_service_that_is_down,
    by_a_refusal,
    by_binary,
]


@pytest.mark.parametrize("closed_fails", [False, True], ids=["", "closed() fails"])
@pytest.mark.parametrize("way", WAYS)
async def test_every_way_out_cleans_up_once(
    probe: type[Probe],
    ledger: Ledger,
    worker: Worker,
    way: Callable[[Client, Probe], Awaitable[int | None]],
    closed_fails: bool,
):
    client = Client(probe)
    await client.opens()
    await until(lambda: probe.seen[0].connection.outbox.corked is False)
    assert await ledger.has(1)
    if closed_fails:
        probe.act["closed"] = fail
    code = await way(client, probe.seen[0])
    if code is not None:
        assert await client.close_code() == code
        await client.send_input({"type": "websocket.disconnect", "code": code})
    await client.ends()

    assert probe.log.count("closed") == 1
    assert probe.seen[0].connection.state is ConnectionState.CLOSED
    assert await ledger.is_clean()
    assert await client.receive_nothing()


async def test_a_cancelled_task_cleans_up(probe: type[Probe], ledger: Ledger):
    client = Client(probe)
    await client.opens()
    client.future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client.future

    assert probe.log == ["closed"]
    assert await ledger.is_clean()


async def test_300_sockets_that_vanish_at_once_leave_nothing_behind(probe: type[Probe], ledger: Ledger):
    clients = [Client(probe) for _ in range(300)]
    await asyncio.gather(*[client.opens() for client in clients])
    assert await ledger.has(300)
    await asyncio.gather(*[client.disconnect(timeout=60) for client in clients])

    assert probe.log.count("closed") == 300
    assert await ledger.is_clean()


async def test_a_client_that_does_not_answer_our_close_is_not_waited_for(
    probe: type[Probe], ledger: Ledger, caplog: pytest.LogCaptureFixture
):
    with replaced(consumer, "CLOSE_WAIT_SECONDS", 0.05):
        client = Client(probe)
        await client.opens()
        await ledger.has(1)
        caplog.clear()
        probe.seen[0].connection.close(codes.KICKED)
        assert await client.close_code() == codes.KICKED.code
        await client.ends()

    assert probe.log == ["closed"]
    assert caplog.text == ""
    assert await ledger.is_clean()


async def test_a_handler_that_hangs_does_not_outlive_its_connection_for_long(
    probe: type[Probe], ledger: Ledger
):
    async def hang(self: Probe) -> None:
        await asyncio.Event().wait()

    probe.act = {"received": hang}
    with replaced(consumer, "CLOSE_WAIT_SECONDS", 0.05):
        client = Client(probe)
        await client.opens()
        await client.send_to("hang")
        await until(lambda: probe.log == ["hang"])
        probe.seen[0].connection.close(codes.KICKED)
        await client.ends()

    assert probe.log == ["hang", "closed"]
    assert await ledger.is_clean()


async def test_a_timeout_of_a_handler_is_an_error_of_that_handler(probe: type[Probe], ledger: Ledger):
    probe.act = {"received": raises(TimeoutError())}
    client = Client(probe)
    await client.opens()
    await client.send_to("x")

    assert await client.close_code() == codes.INTERNAL.portable_code
    await client.ends()
    assert await ledger.is_clean()


async def test_the_servers_own_writer_is_used_where_it_is_offered(probe: type[Probe], worker: Worker):
    calls: list[Any] = []

    class FrameWriter:
        window_bits = 0

        def write(self, data: bytes) -> None:
            calls.append(data)

        def held(self) -> int:
            return 0

        def close(self, code: int, reason: str) -> None:
            calls.append(code)

        def abort(self) -> int:
            calls.append("abort")
            return 0

    client = Client(probe, extensions={EXTENSION: FrameWriter()})
    await client.opens()
    await client.send_to("x")
    await client.send_to(bytes_data=b"x")
    await until(lambda: len(calls) == 2)
    await client.disconnect()

    assert calls == [b"\x81\x06echo x", codes.UNSUPPORTED_DATA.code]


async def test_no_subscription_is_left_in_the_layer(probe: type[Probe], worker: Worker):
    """Only the process's own subscriptions stay: the worker's address, and those of start hooks."""
    await worker.start()
    assert isinstance(worker.relay, Relay)
    subscriptions = worker.relay._subscriptions
    own = set(subscriptions._held)
    assert f"worker:{worker.id}" in own
    client = Client(probe)
    await client.opens()
    assert subscriptions._held > own
    await client.disconnect()
    await until(lambda: not subscriptions._dropped)

    assert subscriptions._held == own
