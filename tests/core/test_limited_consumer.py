"""Rate limits of the base socket: handshakes and frames that wait, are refused, or close the connection."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

from routing_app.core import codes, consumer, fresh_rows
from routing_app.core.codes import Refusal
from routing_app.core.database import query
from routing_app.core.models import RateLimit
from routing_app.core.models.rate_limits import Then
from routing_app.core.rate_limits.limit import Excess
from routing_app.core.rate_limits.table import LimitRow
from routing_app.core.worker import Worker
from tests.core.sockets import LINE, Client, Ledger, Probe, refusals
from tests.services.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

HOURS = {"rate": 0.0001, "burst": 2}
"""Two at once, and hours until the next."""
EXTENSIONS: dict[str, Any] = {"websocket.http.response": {}}


async def limit(worker: Worker, **fields: Any) -> RateLimit:
    """A limit that holds from now on."""
    row = await query(RateLimit.objects.create, **{"protocol": LINE, **HOURS, **fields})
    await worker.rate_limits.read()
    return row


async def test_a_rate_slows_down_and_loses_nothing(probe: type[Probe], worker: Worker):
    await limit(worker, per="connection", rate=50, burst=5, then="wait")
    client = Client(probe)
    await client.opens()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(15):
        await client.send_to(str(number))

    assert [await client.receive_from(60) for _ in range(15)] == [f"echo {number}" for number in range(15)]
    assert loop.time() - begun >= 10 / 50 - 0.02
    await client.disconnect()


async def test_a_frame_that_waits_for_its_turn_is_not_handled_after_a_close(
    probe: type[Probe], worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    turn, waiting = asyncio.Event(), []

    async def wait(excess: Excess, connection: Any) -> None:
        waiting.append(excess.then)
        await turn.wait()

    monkeypatch.setattr(consumer, "settled", wait)
    await limit(worker, per="connection", rate=0.02, burst=1, then="wait")
    client = Client(probe)
    await client.opens()
    await client.send_to("first")
    await client.send_to("second")
    await until(lambda: waiting == [Then.WAIT])
    assert probe.log == ["first"]
    probe.seen[0].connection.close(codes.KICKED)
    assert await client.close_code() == codes.KICKED.code
    turn.set()
    await client.disconnect()

    assert probe.log == ["first", "closed"]


@pytest.mark.parametrize("per", ["connection", "network"])
async def test_frames_beyond_a_limit_are_refused_and_counted(probe: type[Probe], worker: Worker, per: str):
    await limit(worker, per=per, burst=3)  # a handshake is one for its network address
    client, refused = Client(probe), refusals(Refusal.RATE)
    await client.opens()
    for number in range(5):
        await client.send_to(str(number))
    await until(lambda: refused.grown == (2 if per == "connection" else 3))

    assert probe.log == (["0", "1", "2"] if per == "connection" else ["0", "1"])
    await client.disconnect()


async def test_a_frame_beyond_a_limit_closes_the_connection(
    probe: type[Probe], worker: Worker, ledger: Ledger
):
    await limit(worker, per="connection", then="close")
    client, refused = Client(probe), refusals(Refusal.RATE)
    await client.opens()
    for number in range(5):
        await client.send_to(str(number))

    assert await client.close_code() == codes.LIMITED.code == 4101
    await client.disconnect()
    assert probe.log == ["0", "1", "closed"]
    assert refused.grown == 1
    assert await ledger.is_clean()


async def test_limits_come_change_and_go_while_a_connection_is_open(probe: type[Probe], worker: Worker):
    client = Client(probe)
    await client.opens()

    async def passed(*texts: str) -> list[str]:
        before, refused = len(probe.log), refusals(Refusal.RATE)
        for text in texts:
            await client.send_to(text)
        await until(lambda: len(probe.log) - before + refused.grown == len(texts))
        return probe.log[before:]

    assert await passed("1", "2", "3") == ["1", "2", "3"]
    row = await limit(worker, per="connection")
    assert await passed("4", "5", "6") == ["4", "5"]
    await worker.rate_limits.read()
    assert await passed("7") == []
    row.burst = 1
    await query(row.save)
    await worker.rate_limits.read()
    assert await passed("8", "9") == ["8"]
    await query(row.delete)
    await worker.rate_limits.read()
    assert await passed("10", "11") == ["10", "11"]
    await client.disconnect()


async def test_a_handshake_beyond_a_limit_is_answered_with_429(
    probe: type[Probe], worker: Worker, ledger: Ledger
):
    await limit(worker, command="connect", per="network", rate=0.01, burst=1)
    first = Client(probe)
    await first.opens()

    second = Client(probe, extensions=EXTENSIONS)
    await second.send_input({"type": "websocket.connect"})
    start = await second.receive_output(60)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 429)
    assert dict(start["headers"])[b"retry-after"] in {b"%d" % seconds for seconds in range(1, 101)}
    await second.receive_output(60)
    await second.ends()
    assert await Client(probe).refused()  # a server without the extension says 403
    elsewhere = Client(probe, client=["10.0.0.2", 1])
    await elsewhere.opens()
    for client in (first, elsewhere):
        await client.disconnect()
    assert await ledger.is_clean()


async def test_a_handshake_beyond_a_limit_is_accepted_and_closed(
    probe: type[Probe], worker: Worker, ledger: Ledger
):
    await limit(worker, command="connect", per="network", burst=1, then="close")
    first, second = Client(probe), Client(probe, subprotocols=["a", "b"])
    await first.opens()

    assert await second.connect(60) == (True, "a")
    assert await second.close_code() == 4101
    await second.ends()
    await first.disconnect()
    assert await ledger.is_clean()


async def test_a_handshake_beyond_a_limit_waits(probe: type[Probe], worker: Worker):
    await limit(worker, command="connect", per="network", rate=20, burst=1, then="wait")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for client in [Client(probe) for _ in range(5)]:
        await client.opens()
        await client.disconnect()

    assert loop.time() - begun >= 4 / 20 - 0.02


async def test_identities_are_counted_after_admission_and_others_are_not(
    probe: type[Probe], worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    await limit(worker, command="connect", per="identity", burst=1)
    names = iter(["probe ann", "probe ann", "", "", "probe bob"])
    monkeypatch.setattr(Probe, "own_identity", lambda self: self.name)

    async def admit(self: Probe) -> None:
        self.name = next(names)  # type: ignore[attr-defined]

    probe.act = {"admit": admit}
    accepted = []
    for _ in range(5):
        client = Client(probe)
        accepted.append((await client.connect(60))[0])
        await client.disconnect()

    assert accepted == [True, False, True, True, True]


async def test_what_a_handshake_subscribes_to_counts_as_a_subscription(
    probe: type[Probe], worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    await limit(worker, command="subscribe", per="network", burst=1)
    monkeypatch.setattr(Probe, "subscribes_at_once", lambda self: True)
    first = Client(probe)
    await first.opens()

    assert await Client(probe).refused()
    await first.disconnect()


async def test_a_reading_that_began_earlier_and_ends_later_changes_nothing(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    late, readings = asyncio.Event(), count()

    async def read(function: Any) -> list[LimitRow]:
        if next(readings) == 0:
            await late.wait()
            return []
        return [LimitRow(1, "*", "publish", "network", 1.0, 1, "refuse")]

    monkeypatch.setattr(fresh_rows, "query", read)
    first = asyncio.ensure_future(worker.rate_limits.read())
    await asyncio.sleep(0)
    await worker.rate_limits.read()
    late.set()
    await first

    assert worker.rate_limits.of(LINE).publish is not None
