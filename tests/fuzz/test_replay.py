"""Every target over its corpus, over what hypothesis makes of it, and with its work counted.

The fuzzer itself runs in `test_soak.py`; an input that fails there is kept in the corpus, and fails here.
"""

from __future__ import annotations

import sys
import tracemalloc
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import LONGEST, TARGETS, corpus

pytestmark = pytest.mark.once

LINES = 4000
"""Lines of Python that a target may run for no input at all."""
LINES_A_BYTE = {"redis_urls": 100, "websockets_conf": 1000, "import_file": 2000}
"""Lines for each byte of an input; 30 for the others. PyYAML runs some for every character."""
BYTES, BYTES_A_BYTE = 400_000, 400
"""Bytes that it may hold at once, in the same way."""

WORDS = [
    b"",
    b"\0",
    b"\xff",
    b"\x1e",
    b'"',
    b"{",
    b"[",
    b"]",
    b"}",
    b":",
    b",",
    b"\r\n",
    b"-1",
    b"9" * 20,
    b"%",
    b"&a ",
    b"*a",
    b"!!",
]
EDITS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 8), st.sampled_from(WORDS) | st.binary(max_size=6)),
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """An input with bytes at some places taken out and others put in."""
    for at, taken, given_ in edits:
        place = at % (len(data) + 1)
        data = data[:place] + given_ + data[place + taken :]
    return data


def pumped(data: bytes, at: int, width: int, length: int) -> bytes:
    """An input in which one part is repeated until it is so long: this is where work grows too fast."""
    start = at % (len(data) + 1)
    part = data[start : start + width] or b" "
    return data[:start] + part * max(1, (length - len(data)) // len(part)) + data[start + width :]


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_of_the_corpus_is_read_or_refused(name: str) -> None:
    inputs = corpus(name)

    assert len(inputs) >= 3
    for data in inputs:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_whatever_is_made_of_the_corpus_is_read_or_refused(name: str, data: st.DataObject) -> None:
    kept = data.draw(st.sampled_from(corpus(name)) | st.binary(max_size=40))

    TARGETS[name](edited(kept, data.draw(EDITS)))


@pytest.mark.parametrize("name", TARGETS)
def test_work_and_memory_grow_with_the_input(name: str) -> None:
    """Each part of each input is repeated. Lines are counted, not seconds."""
    for kept in corpus(name):
        for at in range(0, min(len(kept), 60), 7):
            data = pumped(kept, at, 5, LONGEST // 2)
            assert lines_run(name, data) <= LINES + LINES_A_BYTE.get(name, 30) * len(data), data[:200]
    for kept in corpus(name):
        data = pumped(kept, len(kept) // 2, 5, LONGEST)
        assert bytes_held(name, data) <= BYTES + BYTES_A_BYTE * len(data), data[:200]


def lines_run(name: str, data: bytes) -> int:
    """Lines of Python that the target runs."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        TARGETS[name](data)
    finally:
        sys.settrace(before)
    return count


def bytes_held(name: str, data: bytes) -> int:
    """Bytes that the target holds at its highest point, with those of its input's copies."""
    tracemalloc.start()
    try:
        TARGETS[name](data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
