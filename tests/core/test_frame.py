"""Frames, against the framing of the `websockets` library as the independent reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as Reference
from websockets.frames import Opcode
from websockets.streams import StreamReader

from routing_app.core.delivery.frame import Frame

pytestmark = pytest.mark.once

SIZES = [0, 1, 125, 126, 127, 65535, 65536, 70_000]


def read(wire: bytes) -> Reference:
    """The one frame in `wire`, as a client that got it would read it."""
    reader = StreamReader()
    reader.feed_data(wire)
    reader.feed_eof()
    steps = Reference.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as parsed:
        next(steps)
    assert not reader.buffer
    frame: Reference = parsed.value.value
    return frame


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("character", ["x", "ü", "€", "😀"])
def test_a_frame_is_written_as_by_the_reference(size: int, character: str):
    text = character * size

    assert Frame(text).wire == Reference(Opcode.TEXT, text.encode()).serialize(mask=False)


@given(st.text())
def test_a_client_reads_the_text_back(text: str):
    frame = read(Frame(text).wire)

    assert (frame.opcode, frame.fin, bytes(frame.data).decode()) == (Opcode.TEXT, True, text)


def test_the_bytes_are_made_once():
    frame = Frame("text")

    assert frame.wire is frame.wire


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_size_counts_the_bytes_of_the_payload(text: str):
    """The bound of an outbox is in bytes, whatever the script of the message."""
    frame = Frame(text)

    assert frame.size == len(read(frame.wire).data)


@given(st.text(st.characters() | st.characters(categories=["Cs"]), min_size=1))
def test_text_and_bytes_say_the_same_even_where_unicode_cannot(text: str):
    """A lone surrogate (JSON may hold one) has no UTF-8: plain ASGI servers would fail on it in `send`."""
    frame = Frame(text)

    assert frame.text.encode() == bytes(read(frame.wire).data)
