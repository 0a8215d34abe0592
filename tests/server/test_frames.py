"""The frame reader against frames that another library builds, cut anywhere; and against noise."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as PeerFrame
from websockets.frames import Opcode

from switchboard_server import frames
from switchboard_server.frames import FrameError, FrameReader, WireFrame
from tests.server.plain import client_frame

pytestmark = pytest.mark.once

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def read(reader: FrameReader, chunks: list[bytes]) -> list[WireFrame]:
    found = []
    for chunk in chunks:
        reader.feed(chunk)
        while (frame := reader.next()) is not None:
            found.append(frame)
    return found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(marks) if end > start]


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, list[WireFrame]]:
    """Wire bytes of one message, perhaps in fragments with pings between them, and what is to be read."""
    opcode = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
    data: Any = draw(TEXTS if opcode is Opcode.TEXT else st.binary(max_size=2000))
    payload = data.encode() if opcode is Opcode.TEXT else data
    parts = cut(payload, draw(st.lists(st.integers(0, 2**16), max_size=4))) or [b""]
    wire, found = b"", []
    for number, part in enumerate(parts):
        kind = opcode if number == 0 else Opcode.CONT
        wire += PeerFrame(kind, part, fin=number == len(parts) - 1).serialize(mask=True)
        if number < len(parts) - 1 and draw(st.booleans()):
            ping = draw(st.binary(max_size=125))
            wire += PeerFrame(Opcode.PING, ping).serialize(mask=True)
            found.append((frames.PING, ping))
    return wire, [*found, (int(opcode), data)]


@given(st.lists(messages(), max_size=6), st.lists(st.integers(0, 2**16), max_size=20))
def test_messages_are_read_however_the_stream_is_cut(
    sent: list[tuple[bytes, list[WireFrame]]], places: list[int]
) -> None:
    wire = b"".join(data for data, _ in sent)
    assert read(FrameReader(0, 0), cut(wire, places)) == [frame for _, found in sent for frame in found]


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_noise_raises_nothing_but_frame_error(chunks: list[bytes]) -> None:
    with suppress(FrameError):
        assert all(frame[0] in frames.OPCODES for frame in read(FrameReader(1000, 1000), chunks))


@given(st.sampled_from([frames.TEXT, frames.BINARY, frames.PONG]), st.integers(0, 70_000))
def test_another_library_reads_built_frames(opcode: int, size: int) -> None:
    payload = b"x" * (size if opcode != frames.PONG else size % 126)
    wire = frames.build(opcode, payload)
    position = 0

    def exactly(count: int) -> Any:
        nonlocal position
        position += count
        yield from ()  # a generator, as the library wants it
        return wire[position - count : position]

    parse = PeerFrame.parse(exactly, mask=False, max_size=None)
    with pytest.raises(StopIteration) as result:
        next(parse)
    assert (result.value.value.opcode, result.value.value.data, position) == (opcode, payload, len(wire))


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        pytest.param(b"\x81\x05hello", 1002, id="not masked"),
        pytest.param(b"\xc1\x80\0\0\0\0", 1002, id="reserved bit"),
        pytest.param(b"\x83\x80\0\0\0\0", 1002, id="unknown opcode"),
        pytest.param(client_frame(frames.PING, b"x" * 126), 1002, id="long ping"),
        pytest.param(client_frame(frames.PING, b"", final=False), 1002, id="ping in parts"),
        pytest.param(client_frame(frames.CONTINUATION, b"x"), 1002, id="continuation of nothing"),
        pytest.param(
            client_frame(frames.TEXT, b"a", final=False) + client_frame(frames.TEXT, b"b"),
            1002,
            id="text inside a message",
        ),
        pytest.param(b"\x81\xfe\x00\x05\0\0\0\0hello", 1002, id="length too long"),
        pytest.param(b"\x81\xff" + bytes(7) + b"\x05\0\0\0\0hello", 1002, id="long length too long"),
        pytest.param(client_frame(frames.CLOSE, b"x"), 1002, id="close of one byte"),
        pytest.param(client_frame(frames.CLOSE, (1005).to_bytes(2, "big")), 1002, id="close code"),
        pytest.param(client_frame(frames.CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007, id="reason"),
        pytest.param(client_frame(frames.TEXT, b"\xed\xa0\x80"), 1007, id="surrogate"),
        pytest.param(client_frame(frames.TEXT, b"\xf0\x9f", final=False) + client_frame(0), 1007, id="half"),
        pytest.param(b"\x81\xfe\x04\x01", 1009, id="header of a frame that is too large"),
        pytest.param(
            client_frame(frames.TEXT, b"x" * 600, final=False) + client_frame(0, b"x" * 600),
            1009,
            id="fragments that are too large together",
        ),
    ],
)  # fmt: skip
def test_broken_streams_have_their_code(stream: bytes, code: int) -> None:
    with pytest.raises(FrameError) as error:
        read(FrameReader(1024, 1024), [stream + bytes(4)])
    assert error.value.code == code


def test_a_wrong_byte_is_refused_before_the_message_ends() -> None:
    with pytest.raises(FrameError, match="UTF-8"):
        read(
            FrameReader(0, 0),
            [client_frame(frames.TEXT, b"good", final=False), client_frame(0, b"\xff", final=False)],
        )


@pytest.mark.parametrize("opcode", [frames.TEXT, frames.BINARY])
def test_a_message_in_tiny_fragments_takes_little_more_than_its_bytes(opcode: int) -> None:
    reader = FrameReader(0, 0)
    fragment = client_frame(frames.CONTINUATION, "é".encode(), final=False)
    size = 32 * 1024 * 2
    tracemalloc.start()
    try:
        assert read(reader, [client_frame(opcode, final=False), *[fragment * 1024] * 32]) == []
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * size
    [(_, message)] = read(reader, [client_frame(frames.CONTINUATION, b"!")])
    expected = "é" * (size // 2) + "!"
    assert message == (expected if opcode == frames.TEXT else expected.encode())


@given(st.lists(st.tuples(st.sampled_from([frames.TEXT, frames.BINARY]), st.integers(0, 70_000)), max_size=5))
def test_joined_frames_are_counted(sizes: list[tuple[int, int]]) -> None:
    assert frames.count(b"".join(frames.build(opcode, bytes(size)) for opcode, size in sizes)) == len(sizes)


def test_codes_that_may_be_sent() -> None:
    allowed = {code for code in range(6000) if frames.may_close_with(code)}
    assert allowed == {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


def test_a_long_reason_is_cut_at_a_character() -> None:
    wire = frames.build_close(4000, "é" * 100)
    assert len(wire) == 2 + 2 + 122
    assert wire[4:].decode() == "é" * 61
