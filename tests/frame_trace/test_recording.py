"""Recordings are bounded, whatever comes: in frames a second, in frames that wait, and in bodies."""

from __future__ import annotations

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.frame_trace.recording import BATCH_BYTES, BODY, RATE, WAITING, Note, Recording

pytestmark = pytest.mark.once


class Clock:
    """A time that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def all_of(recording: Recording) -> tuple[list[Note], int]:
    """Everything that waits, and how many were left out."""
    frames: list[Note] = []
    dropped = 0
    while recording.some.is_set():
        some, left_out = recording.take()
        frames += some
        dropped += left_out
    return frames, dropped


@given(st.lists(st.floats(0, 0.5), max_size=2000), st.integers(1, 300))
def test_no_second_shows_more_than_its_rate_and_every_frame_is_shown_or_counted(
    gaps: list[float], often: int
):
    clock = Clock()
    recording = Recording(bodies=True, clock=clock)
    times: list[float] = []
    shown: list[float] = []
    dropped = 0
    for number, gap in enumerate(gaps):
        clock.now += gap / often
        times.append(clock.now)
        recording.note("c", "test", "in", 1, str(number))
        if number % often == 0:
            frames, left_out = all_of(recording)
            shown += [times[int(frame["body"])] for frame in frames]
            dropped += left_out
    frames, left_out = all_of(recording)
    shown += [times[int(frame["body"])] for frame in frames]

    assert len(shown) + dropped + left_out == len(gaps)
    assert shown == sorted(shown)
    assert all(later - first >= 1.0 for first, later in zip(shown, shown[RATE:], strict=False))


def test_a_recording_that_nobody_reads_keeps_so_many_frames():
    clock = Clock()
    recording = Recording(bodies=False, clock=clock)
    for second in range(10):
        clock.now = float(second)
        for _ in range(RATE):
            recording.note("c", "test", "out", 1, "x")

    frames, dropped = all_of(recording)
    assert (len(frames), dropped) == (WAITING, 10 * RATE - WAITING)


def test_bodies_are_there_only_when_they_are_wanted():
    masked, whole = Recording(bodies=False), Recording(bodies=True)
    for recording in (masked, whole):
        recording.note("c", "test", "in", 6, "secret")
        recording.note("c", "test", "out", 8, "reason", 4003)

    assert [set(frame) for frame in all_of(masked)[0]] == [
        {"at", "direction", "connection", "protocol", "size"},
        {"at", "direction", "connection", "protocol", "size", "code"},
    ]
    assert [frame["body"] for frame in all_of(whole)[0]] == ["secret", "reason"]


@pytest.mark.parametrize("size", [0, 1, BODY, BODY + 1, 10 * BODY])
def test_the_beginning_of_a_long_body_is_shown_and_said_to_be_that(size: int):
    recording = Recording(bodies=True)
    recording.note("c", "test", "in", size, "x" * size)
    recording.note("c", "test", "in", size, b"\xff" * size)
    text, data = all_of(recording)[0]

    assert text["body"] == "x" * min(size, BODY)
    assert (b64decode(data["body"]), data["binary"]) == (b"\xff" * min(size, BODY), True)
    assert text.get("cut", False) == data.get("cut", False) == (size > BODY)


def test_a_batch_is_bounded_and_the_rest_is_the_next_one():
    recording = Recording(bodies=True)
    for _ in range(RATE):
        recording.note("c", "test", "in", BODY, "x" * BODY)

    batches = []
    while recording.some.is_set():
        batches.append(recording.take()[0])
    assert sum(map(len, batches)) == RATE
    assert len(batches) > 1
    assert all(len(batch) * BODY < BATCH_BYTES + BODY for batch in batches)
