"""Bounded memory in both directions: readers that do not read, clients that flood, what the writer holds."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from tests.server.plain import PATIENT, Plain, PlainFactory, client_frame
from tests.services.waiting import undisturbed, until

pytestmark = pytest.mark.once

MEGABYTE = 2**20


async def test_a_reader_that_stops_costs_little_and_is_closed_as_slow(plain: PlainFactory) -> None:
    server = plain()
    before = server.memory()
    raw = await server.raw("/offer?frames=3000")  # 300 MB

    async def is_closed() -> bool:
        assert server.memory() - before < 20 * MEGABYTE
        return bool((await server.stats())["codes"])

    await until(is_closed)
    stats = await server.stats()
    assert stats["held"] == 0
    # 1 MiB of frames of 100 kB, without those that were begun.
    assert 8 <= stats["thrown"] <= 11
    await raw.close()


async def test_a_slow_reader_that_wakes_up_is_told_the_code(shared: Plain) -> None:
    before = (await shared.stats())["thrown"]
    raw = await shared.raw("/offer?frames=200")

    async def is_too_slow() -> bool:
        return bool((await shared.stats())["thrown"] > before)

    await until(is_too_slow)
    assert await raw.read_close() == 4100
    await raw.close()


async def test_a_slow_reader_that_reads_on_is_told_the_code_however_late(plain: PlainFactory) -> None:
    server = plain()

    async def reads_on() -> None:
        raw = await server.raw("/offer?frames=200")
        received = 0
        for _ in range(35):  # longer than one that does not read is given
            received += len(data := await raw.reader.read(20_000))
            await asyncio.sleep(0.1)
        while more := await raw.reader.read(MEGABYTE):
            received += len(more)
            data = (data + more)[-100:]
        assert data.endswith(b"\x88\x11" + (4100).to_bytes(2, "big") + b"reader too slow")
        assert received < 200 * 100_000
        await raw.close()

    await undisturbed(reads_on, 1)


async def test_plain_asgi_sends_wait_for_the_reader(plain: PlainFactory) -> None:
    server = plain(environ=PATIENT)
    before = server.memory()
    raw = await server.raw("/push?frames=1000")  # 100 MB
    received = len((await raw.read_frame())[1])
    assert await server.peak() - before < 10 * MEGABYTE
    while (frame := await raw.read_frame())[0] != 8:
        received += len(frame[1])
    assert received == 1000 * 100_000
    await raw.close()


async def test_the_writer_says_when_all_is_with_the_kernel(shared: Plain) -> None:
    raw = await shared.raw("/drained")
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # the same one as the reader's
    before = (await shared.stats())["received"]
    raw.frame(1, b"go")

    async def has_written() -> bool:
        return bool((await shared.stats())["received"] > before)

    await until(has_written)
    raw.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(80):
        assert len((await raw.read_frame())[1]) == 100_000
    assert await raw.read_frame() == (1, b"True 0")
    await raw.close()


async def test_a_flood_is_read_only_as_fast_as_its_handler(plain: PlainFactory) -> None:
    server = plain()
    raw = await server.raw("/wait_to_read")
    before = server.memory()
    flood = b"".join(client_frame(1, b"%099d" % number) for number in range(100_000))
    raw.writer.write(flood)
    await until(partial(server.has_stopped_reading, raw))
    assert raw.unsent > len(flood) // 4
    assert server.memory() - before < 3 * MEGABYTE
    await server.stats("/go")
    raw.frame(1, b"done")
    assert await raw.read_frame() == (1, b"100000")
    assert (await server.stats())["in_order"]
    assert server.memory() - before < 3 * MEGABYTE
    await raw.close()


async def test_others_are_served_while_one_floods_and_one_does_not_read(plain: PlainFactory) -> None:
    server = plain()
    slow = await server.raw("/push?frames=1000")
    flood = await server.raw("/wait_to_read")
    flood.writer.write(client_frame(1, b"%099d" % 0) * 100_000)
    async with server.open("/echo") as client:
        for number in range(200):
            await client.send(str(number))
            assert await client.recv() == str(number)
    await slow.close()
    await flood.close()


async def test_the_close_of_a_client_that_was_not_read_is_seen_when_the_handler_is_done(
    plain: PlainFactory,
) -> None:
    server = plain(environ=PATIENT)
    raw = await server.raw("/wait_to_read")
    raw.writer.write(b"".join(client_frame(1, b"%d" % number) for number in range(5000)))
    raw.frame(8, (1000).to_bytes(2, "big"))
    await asyncio.sleep(0.2)
    await server.stats("/go")
    assert await raw.read_close() == 1000
    assert (await server.stats())["received"] == 5000
    await raw.close()
