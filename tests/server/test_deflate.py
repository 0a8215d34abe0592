"""permessage-deflate: what is agreed on, what is compressed, and what is not inflated."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame

from switchboard_server import deflate, frames
from switchboard_server.deflate import Deflate, InflatingReader, compressed, negotiate
from switchboard_server.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, FrameError
from switchboard_server.handshake import HandshakeError
from switchboard_server.websocket import MAX_MESSAGE, SocketLimits
from tests.server.driven import Driven, turn
from tests.server.plain import client_frame
from tests.server.test_frames import TEXTS, cut, read

pytestmark = pytest.mark.once

BOTH = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
AGREED = Deflate(15, BOTH)
ROW = '{"id":1001,"name":"anna","price":17.25},'
LIMITS = SocketLimits(max_frame=1000, max_message=1000)


def squeezed(data: bytes, bits: int = 15, level: int = 6) -> bytes:
    """The payload of a compressed message, as section 7.2.1 makes it."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def squeezed_frame(opcode: int, data: bytes, **options: Any) -> bytes:
    """A masked frame that is a whole compressed message."""
    return client_frame(opcode | deflate.RSV1, squeezed(data, **options))


def opened(limits: SocketLimits = LIMITS) -> Driven:
    return Driven(limits, deflate=AGREED).opened()


def peer(bits: int = 15) -> PerMessageDeflate:
    """The other side, as the library `websockets` has it, with a window of its own size."""
    return PerMessageDeflate(True, True, bits, 15)


def plain(frame: bytes, bits: int = 15) -> tuple[int, bytes]:
    """(opcode, payload) of one server frame, read by another library."""
    at = 0

    def exactly(count: int) -> Any:
        nonlocal at
        at += count
        yield from ()
        return frame[at - count : at]

    with pytest.raises(StopIteration) as result:
        next(Frame.parse(exactly, mask=False, max_size=None, extensions=[peer(bits)]))
    assert at == len(frame)
    return int(result.value.value.opcode), bytes(result.value.value.data)


# --- negotiation ------------------------------------------------------------------------------------------

OFFERS = [
    pytest.param([], None, id="no header"),
    pytest.param([b"permessage-deflate"], b"", id="nothing asked"),
    pytest.param([b"permessage-deflate; client_max_window_bits"], b"", id="browser"),
    pytest.param([b"  permessage-deflate ;client_max_window_bits "], b"", id="spaces"),
    pytest.param([b"permessage-deflate; server_no_context_takeover"], b"", id="server without context"),
    pytest.param([b"permessage-deflate; client_no_context_takeover"], b"", id="client without context"),
    pytest.param(
        [b"permessage-deflate; server_max_window_bits=10"], b"; server_max_window_bits=10", id="server window"
    ),
    pytest.param(
        [b"permessage-deflate; server_max_window_bits=8"], b"; server_max_window_bits=8", id="smallest window"
    ),
    pytest.param(
        [b'permessage-deflate; client_max_window_bits="1\\2"; server_max_window_bits="9"'],
        b"; server_max_window_bits=9; client_max_window_bits=12",
        id="quoted",
    ),
    pytest.param(
        [b"permessage-deflate; server_max_window_bits=9, permessage-deflate"],
        b"; server_max_window_bits=9",
        id="the first of two",
    ),
    pytest.param(
        [b"permessage-bzip2; level=9", b'x-webkit-deflate-frame; a="b", permessage-deflate'],
        b"",
        id="others before it, in two headers",
    ),
    pytest.param([b"permessage-bzip2, x"], None, id="others alone"),
    pytest.param([b"permessage-deflate-frame"], None, id="longer name"),
    pytest.param([b",permessage-deflate", b" , "], b"", id="empty elements"),
    pytest.param(
        [b"permessage-deflate; server_max_window_bits = 9"], b"; server_max_window_bits=9", id="spaces at ="
    ),
    pytest.param(
        [b"permessage-deflate; server_max_window_bits=7, permessage-deflate; level=9, permessage-deflate"],
        b"",
        id="the first that is valid",
    ),
]


@pytest.mark.parametrize(("values", "answer"), OFFERS)
def test_an_offer_is_answered(values: list[bytes], answer: bytes | None) -> None:
    agreed = negotiate([(b"host", b"x"), *((deflate.HEADER, value) for value in values)])

    assert (agreed and agreed.answer) == (None if answer is None else BOTH + answer)


@pytest.mark.parametrize(("bits", "value"), [(15, b""), (15, b"=15"), (9, b"=9"), (8, b"=8")])
def test_the_servers_window_is_what_the_client_asks_for(bits: int, value: bytes) -> None:
    asked = b"; server_max_window_bits" + value if value else b""
    agreed = negotiate([(deflate.HEADER, b"permessage-deflate" + asked)])

    assert agreed is not None
    assert agreed.window_bits == bits


DECLINED = [
    b"permessage-deflate; server_max_window_bits",
    b"permessage-deflate; server_max_window_bits=7",
    b"permessage-deflate; server_max_window_bits=16",
    b"permessage-deflate; server_max_window_bits=09",
    b"permessage-deflate; server_max_window_bits=-9",
    b"permessage-deflate; server_max_window_bits=x",
    b"permessage-deflate; client_max_window_bits=7",
    b"permessage-deflate; client_max_window_bits=100",
    b"permessage-deflate; server_no_context_takeover=1",
    b"permessage-deflate; client_no_context_takeover=true",
    b"permessage-deflate; client_no_context_takeover; client_no_context_takeover",
    b"permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
    b"permessage-deflate; level=9",
    b"permessage-deflate; SERVER_NO_CONTEXT_TAKEOVER",
]


@pytest.mark.parametrize("value", DECLINED)
def test_an_offer_with_a_wrong_parameter_is_declined(value: bytes) -> None:
    """RFC 7692, section 7.1: the handshake goes on without the extension."""
    assert negotiate([(deflate.HEADER, value)]) is None


UNREADABLE = [
    b"",
    b",",
    b"permessage-deflate;",
    b"permessage-deflate;;server_no_context_takeover",
    b"permessage-deflate; =9",
    b"permessage-deflate; server_max_window_bits=",
    b'permessage-deflate; server_max_window_bits="9',
    b'permessage-deflate; server_max_window_bits=""',
    b'permessage-deflate; server_max_window_bits="9"x',
    b"permessage-deflate, permessage-bzip2; =",
    b"permessage-deflate (x)",
    b"permessage deflate",
    b"x; \xe9=1",
]


@pytest.mark.parametrize("value", UNREADABLE)
def test_a_header_that_cannot_be_read_is_refused(value: bytes) -> None:
    with pytest.raises(HandshakeError) as error:
        negotiate([(deflate.HEADER, value)])

    assert error.value.status == 400


@pytest.mark.parametrize(
    "part", [b" ", b"\t", b",", b" ,", b"a", b"a;", b" ;", b'a;b="', b'a;b="\\c', b"a; b ", b"a,"]
)
def test_a_long_header_costs_no_more_than_its_length(part: bytes) -> None:
    """By backtracking it would take longer than any test may."""
    with pytest.raises(HandshakeError):
        negotiate([(deflate.HEADER, part * (300_000 // len(part)) + b"\0")])


@given(st.binary(max_size=60) | st.text(st.sampled_from('permsag-dfl;=", \\\t1589'), max_size=60))
def test_any_header_is_answered_or_refused(value: bytes | str) -> None:
    with suppress(HandshakeError):
        agreed = negotiate([(deflate.HEADER, value if isinstance(value, bytes) else value.encode())])
        assert agreed is None or agreed.answer.startswith(BOTH)


# --- to the client ----------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.binary(max_size=3000), st.integers(1, 40), st.sampled_from([TEXT, BINARY])), max_size=5
    ),
    st.integers(8, 15),
)
def test_another_library_reads_what_is_compressed(sent: list[tuple[bytes, int, int]], bits: int) -> None:
    """Each message by itself: the library has a new window for each."""
    for data, times, opcode in sent:
        payload = data * times
        frame = compressed(frames.build(opcode, payload), bits)
        assert len(frame) <= len(frames.build(opcode, payload))
        assert plain(frame, bits) == (opcode, payload)


@pytest.mark.parametrize("bits", [8, 9, 12, 15])
def test_a_window_is_never_left(bits: int) -> None:
    """A repetition at every distance; a receiver of exactly this window reads it."""
    source = random.Random(bits)
    data = bytes(source.choices(range(256), k=600)) * 30
    frame = compressed(frames.build(BINARY, data), bits)
    payload = frame[4 if frame[1] == 126 else 10 :]
    at_most = zlib.decompressobj(-bits)

    assert at_most.decompress(payload + deflate.TAIL) == data


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(frames.build(TEXT, b"x" * 200), id="short"),
        pytest.param(frames.build(TEXT, b"x" * deflate.LARGEST), id="so long that it would block the loop"),
        pytest.param(frames.build(BINARY, random.Random(1).randbytes(5000)), id="not shorter"),
        pytest.param(frames.build(CLOSE, b"\3\xe8"), id="close"),
        pytest.param(frames.build(PING, b"x" * 125), id="ping"),
    ],
)
def test_a_frame_that_stays_as_it_is(frame: bytes) -> None:
    assert compressed(frame, 15) is frame


def test_one_message_says_nothing_about_another() -> None:
    """The same bytes, whatever was sent before: no context is kept."""
    frame = frames.build(TEXT, ROW.encode() * 20)
    first = compressed(frame, 15)
    compressed(frames.build(TEXT, b"something else, " * 100), 15)

    assert compressed(frame, 15) == first


# --- from the client --------------------------------------------------------------------------------------


@st.composite
def sent_messages(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, Any]]]:
    """Wire bytes of one message, compressed or not, in fragments or not, with pings between."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    data: Any = draw(TEXTS if opcode == TEXT else st.binary(max_size=2000))
    payload = data.encode() if opcode == TEXT else data
    is_squeezed = draw(st.booleans())
    if is_squeezed:
        payload = squeezed(payload, draw(st.integers(9, 15)), draw(st.integers(0, 9)))
    parts = cut(payload, draw(st.lists(st.integers(0, 2**16), max_size=4))) or [b""]
    wire, found = b"", []
    for number, part in enumerate(parts):
        kind = CONTINUATION if number else opcode | (deflate.RSV1 if is_squeezed else 0)
        wire += client_frame(kind, part, final=number == len(parts) - 1)
        if number < len(parts) - 1 and draw(st.booleans()):
            wire += client_frame(PING, b"between")
            found.append((PING, b"between"))
    return wire, [*found, (opcode, data)]


@given(st.lists(sent_messages(), max_size=6), st.lists(st.integers(0, 2**16), max_size=20))
def test_messages_are_read_however_the_stream_is_cut(
    sent: list[tuple[bytes, list[tuple[int, Any]]]], places: list[int]
) -> None:
    wire = b"".join(data for data, _ in sent)

    assert read(InflatingReader(0, 0), cut(wire, places)) == [frame for _, found in sent for frame in found]


def test_a_message_is_read_at_every_cut() -> None:
    wire = squeezed_frame(TEXT, ROW.encode() * 3) + client_frame(TEXT, b"plain")
    for place in range(len(wire) + 1):
        found = read(InflatingReader(0, 0), [part for part in (wire[:place], wire[place:]) if part])
        assert found == [(TEXT, ROW * 3), (TEXT, "plain")]


@given(st.binary(max_size=300))
def test_noise_is_read_or_refused(noise: bytes) -> None:
    with suppress(FrameError):
        [(opcode, data)] = read(InflatingReader(5000, 5000), [client_frame(BINARY | deflate.RSV1, noise)])
        assert opcode == BINARY
        assert len(data) <= 5000


HELLO_FINAL = bytes.fromhex("f348cdc9c9070000")
"""RFC 7692, 7.2.3.5: "Hello" in a block with BFINAL set, and the octet behind it."""


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        pytest.param(bytes.fromhex("f248cdc9c90700"), b"Hello", id="7.2.3.1"),
        pytest.param(bytes.fromhex("000500faff48656c6c6f00"), b"Hello", id="7.2.3.4, not compressed"),
        pytest.param(HELLO_FINAL, b"Hello", id="7.2.3.5, BFINAL"),
        pytest.param(HELLO_FINAL[:-1], b"Hello", id="BFINAL without the octet behind it"),
        pytest.param(bytes.fromhex("f248050000 00ffff cac9c90700"), b"Hello", id="7.2.3.6, two blocks"),
        pytest.param(b"\0", b"", id="7.2.3.6, empty"),
        pytest.param(b"", b"", id="empty, without its block"),
    ],
)
def test_the_examples_of_the_rfc(payload: bytes, data: bytes) -> None:
    assert deflate.inflate(payload, 5) == data


WHOLE = squeezed(b"0123456789" * 20)


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        pytest.param(client_frame(TEXT | 0x60, squeezed(b"x")), 1002, id="another reserved bit with it"),
        pytest.param(client_frame(TEXT | 0x20, b"x"), 1002, id="another reserved bit"),
        pytest.param(client_frame(PING | 0x40, b"x"), 1002, id="compressed ping"),
        pytest.param(client_frame(PONG | 0x40, b"x"), 1002, id="compressed pong"),
        pytest.param(client_frame(CLOSE | 0x40, b"\3\xe8"), 1002, id="compressed close"),
        pytest.param(
            client_frame(TEXT | 0x40, WHOLE[:5], final=False) + client_frame(0x40, WHOLE[5:]),
            1002,
            id="the bit on a continuation",
        ),
        pytest.param(
            client_frame(TEXT, b"a", final=False) + client_frame(0x40, b"b"),
            1002,
            id="the bit on the continuation of a plain message",
        ),
        pytest.param(
            client_frame(TEXT | 0x40, WHOLE[:5], final=False) + client_frame(TEXT | 0x40, WHOLE),
            1002,
            id="a message within a message",
        ),
        pytest.param(client_frame(TEXT | 0x40, b"\xff" * 9), 1007, id="not DEFLATE"),
        pytest.param(client_frame(TEXT | 0x40, WHOLE[:-3]), 1007, id="cut off"),
        pytest.param(client_frame(TEXT | 0x40, HELLO_FINAL + WHOLE), 1007, id="data behind the last block"),
        pytest.param(client_frame(TEXT | 0x40, squeezed(b"x") + b"\1\2\3"), 1007, id="rubbish behind it"),
        pytest.param(squeezed_frame(TEXT, b"\xed\xa0\x80"), 1007, id="not UTF-8"),
        pytest.param(
            client_frame(TEXT | 0x40, squeezed(b"\xff" * 9)[:4], final=False)
            + client_frame(CONTINUATION, squeezed(b"\xff" * 9)[4:]),
            1007,
            id="not UTF-8, in fragments",
        ),
        pytest.param(squeezed_frame(TEXT, b"x" * 1001), 1009, id="one byte too many"),
        pytest.param(squeezed_frame(BINARY, bytes(10**8)), 1009, id="bomb"),
        pytest.param(
            client_frame(BINARY | 0x40, squeezed(bytes(10**6))[:500], final=False)
            + client_frame(CONTINUATION, squeezed(bytes(10**6))[500:]),
            1009,
            id="bomb in fragments",
        ),
        pytest.param(client_frame(BINARY | 0x40, bytes(1200)), 1009, id="long before it is inflated"),
        pytest.param(
            client_frame(BINARY | 0x40, bytes(600), final=False) + client_frame(CONTINUATION, bytes(600)),
            1009,
            id="long in fragments before it is inflated",
        ),
    ],
)
async def test_a_broken_stream_is_closed_with_its_code(stream: bytes, code: int) -> None:
    driven = opened()
    driven.feed(stream)
    await turn()

    assert driven.close_codes() == [code]
    assert [found for found in driven.received() if not isinstance(found, tuple)] == []


@pytest.mark.parametrize("size", [1, 999, 1000])
async def test_a_message_of_the_largest_size_is_taken_although_it_grew(size: int) -> None:
    data = bytes(random.Random(size).choices(range(144, 256), k=size))  # of which each grows to nine bits
    fixed = zlib.compressobj(9, zlib.DEFLATED, -15, 8, zlib.Z_FIXED)
    grown = (fixed.compress(data) + fixed.flush(zlib.Z_SYNC_FLUSH))[:-4]
    parts = cut(grown, list(range(50, len(grown), 50)))
    driven = opened()
    driven.feed(squeezed_frame(BINARY, data, level=0))
    driven.feed(client_frame(BINARY | deflate.RSV1, grown))
    for number, part in enumerate(parts):
        kind = CONTINUATION if number else BINARY | deflate.RSV1
        driven.feed(client_frame(kind, part, final=number == len(parts) - 1))

    assert driven.received() == [data] * 3


def test_a_bomb_is_not_inflated() -> None:
    bomb = squeezed(bytes(2 * 10**8))
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match="at most 1000000"):
            deflate.inflate(bomb, 10**6)
        assert tracemalloc.get_traced_memory()[1] < 3 * 10**6
    finally:
        tracemalloc.stop()


# --- the socket -------------------------------------------------------------------------------------------


def wire(driven: Driven) -> Iterator[bytes]:
    """The whole frames that came to the kernel behind the 101."""
    data = bytes(driven.connection.taken).partition(b"\r\n\r\n")[2]
    while data:
        size, start = data[1] & 0x7F, 2
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(data[2:start], "big")
        yield data[: start + size]
        data = data[start + size :]


async def test_what_the_application_sends_is_compressed() -> None:
    driven = opened()
    driven.send(type="websocket.send", text=ROW * 30)
    driven.send(type="websocket.send", bytes=bytes(1000))
    driven.send(type="websocket.send", text="short")

    sent = list(wire(driven))
    assert [bool(frame[0] & 0x40) for frame in sent] == [True, True, False]
    assert list(map(plain, sent)) == [(TEXT, ROW.encode() * 30), (BINARY, bytes(1000)), (TEXT, b"short")]


async def test_control_frames_are_never_compressed() -> None:
    driven = opened()
    driven.feed(client_frame(PING, b"x" * 125))
    driven.send(type="websocket.close", code=1000, reason="x" * 123)

    assert [frame[0] for frame in wire(driven)] == [0x80 | PONG, 0x80 | CLOSE]


async def test_a_bound_of_the_application_holds_for_what_is_inflated() -> None:
    driven = Driven(SocketLimits(), deflate=AGREED)
    driven.received()
    driven.send(type="websocket.accept", **{MAX_MESSAGE: 50})
    driven.feed(squeezed_frame(TEXT, b"x" * 50) + squeezed_frame(TEXT, b"x" * 51))
    await turn()

    assert driven.received()[0] == "x" * 50
    assert driven.close_codes() == [1009]


async def test_without_an_agreement_nothing_is_compressed() -> None:
    driven = Driven().opened()
    driven.send(type="websocket.send", text=ROW * 30)
    driven.feed(squeezed_frame(TEXT, b"x"))
    await turn()

    first, close = wire(driven)
    assert first == frames.build(TEXT, ROW.encode() * 30)
    assert close[0] == 0x80 | CLOSE
    assert driven.close_codes() == [1002]
