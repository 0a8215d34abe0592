"""How sockets end: codes in both directions, failures of the application, and broken or oversized input."""

from __future__ import annotations

from functools import partial

import pytest

from tests.server.plain import Plain, PlainFactory, client_frame, closed_with
from tests.services.waiting import until

pytestmark = pytest.mark.once

CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4100, 4999]


@pytest.mark.parametrize("code", CODES)
async def test_the_application_may_close_with_any_code_of_rfc_6455(shared: Plain, code: int) -> None:
    async with shared.open(f"/close?code={code}&reason=b%C3%A9cause") as client:
        assert await closed_with(client) == code
        assert client.close_reason == "bécause"


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
async def test_a_code_that_must_not_be_sent_is_a_failure_of_the_application(shared: Plain, code: int) -> None:
    async with shared.open(f"/close?code={code}") as client:
        assert await closed_with(client) == 1011


@pytest.mark.parametrize("code", [*CODES, None])
async def test_the_application_is_told_the_clients_code(shared: Plain, code: int | None) -> None:
    raw = await shared.raw("/told")
    raw.frame(8, b"" if code is None else code.to_bytes(2, "big") + b"bye")
    opcode, payload = await raw.read_frame()
    assert opcode == 8
    # The answer repeats the code (RFC 6455, section 5.5.1).
    assert payload[:2] == (b"" if code is None else code.to_bytes(2, "big"))
    assert await raw.reader.read() == b""
    assert (await shared.stats())["codes"][-1] == (code or 1005)
    await raw.close()


async def test_the_application_is_told_of_a_connection_that_just_ends(shared: Plain) -> None:
    raw = await shared.raw("/told")
    before = (await shared.stats())["codes"]
    await raw.close()
    await until(partial(shared.has_lost, len(before)))


async def test_an_exception_closes_with_1011(shared: Plain) -> None:
    async with shared.open("/fail") as client:
        assert await closed_with(client) == 1011
    raw = await shared.raw("/fail?when=before")
    assert raw.status == 500
    await raw.close()


async def test_an_application_that_returns_closes_with_1000(shared: Plain) -> None:
    async with shared.open("/leave") as client:
        assert await closed_with(client) == 1000


async def test_empty_frames_are_delivered_both_ways(shared: Plain) -> None:
    async with shared.open("/echo") as client:
        await client.send("")
        assert await client.recv() == ""
        await client.send(b"")
        assert await client.recv() == b""


async def test_pings_are_answered_with_their_payload(shared: Plain) -> None:
    raw = await shared.raw("/echo")
    raw.frame(9, b"are you there")
    assert await raw.read_frame() == (10, b"are you there")
    await raw.close()


async def test_frames_that_come_with_the_handshake_in_one_segment_after_it(shared: Plain) -> None:
    raw = await shared.raw("/echo")
    raw.writer.write(client_frame(1, b"one") + client_frame(1, b"two") + client_frame(1, b"three"))
    assert [await raw.read_frame() for _ in range(3)] == [(1, b"one"), (1, b"two"), (1, b"three")]
    await raw.close()


async def test_the_largest_frame_passes_and_one_byte_more_does_not(shared: Plain) -> None:
    async with shared.open("/echo") as client:
        await client.send("x" * 65536)
        assert await client.recv() == "x" * 65536
        await client.send("x" * 65537)
        assert await closed_with(client) == 1009


async def test_a_frame_of_16_mb_is_refused_and_its_sender_told(shared: Plain) -> None:
    before = shared.memory()
    raw = await shared.raw("/echo")
    raw.frame(1, b"x" * 16_000_000)
    assert await raw.read_close() == 1009
    await raw.close()
    assert shared.memory() - before < 2_000_000


@pytest.mark.parametrize("payload", [b"\xff", b"\xed\xa0\x80", b"ok\xc3", b"\xf4\x90\x80\x80"])
async def test_text_that_is_not_utf_8_is_1007(shared: Plain, payload: bytes) -> None:
    raw = await shared.raw("/echo")
    raw.frame(1, payload)
    assert await raw.read_close() == 1007
    await raw.close()


async def test_a_client_that_does_not_answer_the_close_is_dropped(plain: PlainFactory) -> None:
    server = plain()
    raw = await server.raw("/close?code=4000")
    assert await raw.read_close(answer=False) == 4000
    assert (await server.stats())["codes"] == [1006]
    await raw.close()
