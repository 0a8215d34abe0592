"""The outbox: in order, bounded, one write a turn."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.outbox import SLICE, SMALL_SLICE, Flusher, Outbox, deliver
from tests.core.harness import Recorder

pytestmark = pytest.mark.once


class Box(Outbox):
    """An outbox with its writer and its overflows in sight."""

    def __init__(self, flusher: Flusher, max_bytes: int = 100, max_frames: int = 10) -> None:
        self.recorder = Recorder()
        self.overflows: list[int] = []
        super().__init__(flusher, self.recorder, self.overflows.append, max_bytes, max_frames)


async def turn() -> None:
    await asyncio.sleep(0)


def flusher() -> Flusher:
    return Flusher(asyncio.get_running_loop())


async def test_frames_of_one_turn_are_one_write_at_its_end():
    box = Box(flusher())
    for text in "abc":
        assert box.push(Frame(text))
    assert box.recorder.writes == []

    await turn()
    assert box.recorder.writes == [["a", "b", "c"]]

    box.push(Frame("d"))
    await turn()
    assert box.recorder.writes == [["a", "b", "c"], ["d"]]


async def test_answers_to_one_client_are_written_at_the_end_of_its_read():
    shared = flusher()
    box = Box(shared)

    def handle() -> None:
        for text in "ab":
            box.push(Frame(text))
        assert box.recorder.writes == []

    shared.read(box, handle)
    assert box.recorder.writes == [["a", "b"]]
    shared.read(box, lambda: None)
    box.push(Frame("c"))
    assert len(box.recorder.writes) == 1, "no read goes on"
    await turn()
    assert box.recorder.writes == [["a", "b"], ["c"]]


@pytest.mark.parametrize("before", [True, False], ids=["something waits before", "the read reaches others"])
async def test_messages_to_others_are_joined_at_the_end_of_the_turn(before: bool):
    shared = flusher()
    box, other = Box(shared), Box(shared)
    if before:
        other.push(Frame("x"))

    def handle() -> None:
        box.push(Frame("a"))
        if not before:
            other.push(Frame("x"))

    shared.read(box, handle)
    shared.read(other, lambda: None)
    box.push(Frame("b"))
    assert box.recorder.writes == other.recorder.writes == []
    await turn()
    assert (box.recorder.writes, other.recorder.writes) == ([["a", "b"]], [["x"]])


async def test_a_read_whose_handling_fails_leaves_nothing_behind():
    shared = flusher()
    box = Box(shared)

    def handle() -> None:
        box.push(Frame("a"))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        shared.read(box, handle)
    assert box.recorder.writes == [["a"]]
    box.push(Frame("b"))
    await turn()
    assert box.recorder.writes == [["a"], ["b"]]


async def test_a_turn_without_a_push_writes_nothing():
    box = Box(flusher())
    box.push(Frame("a"))
    for _ in range(5):
        await turn()

    assert len(box.recorder.writes) == 1


async def test_one_frame_goes_to_all_outboxes_and_those_that_took_it_are_counted():
    shared = flusher()
    boxes = [Box(shared) for _ in range(5)]
    boxes[3].shut()

    assert deliver(boxes, Frame("a")) == 4
    await turn()

    assert [box.recorder.texts for box in boxes] == [["a"], ["a"], ["a"], [], ["a"]]


async def test_a_long_flush_lets_other_callbacks_have_their_turn():
    shared = flusher()
    boxes = [Box(shared) for _ in range(3 * SLICE)]
    deliver(boxes, Frame("a"))
    seen = []
    while not boxes[-1].recorder.writes:
        await turn()
        seen.append(sum(bool(box.recorder.writes) for box in boxes))

    assert seen[-1] == len(boxes)
    assert all(0 < later - earlier <= SLICE for earlier, later in pairwise([0, *seen]))
    assert seen[0] == SMALL_SLICE


async def test_frames_pushed_between_two_slices_are_written_in_order():
    shared = flusher()
    boxes = [Box(shared) for _ in range(2 * SLICE)]
    deliver(boxes, Frame("a"))
    await turn()
    deliver(boxes, Frame("b"))
    for _ in range(10):
        await turn()

    assert {tuple(box.recorder.texts) for box in boxes} == {("a", "b")}


async def test_a_writer_that_fails_holds_up_nobody_else():
    shared = flusher()
    boxes = [Box(shared) for _ in range(3)]

    def fail(frames: list[Frame]) -> None:
        raise OSError("broken")

    boxes[0].recorder.write = fail  # type: ignore[method-assign]
    deliver(boxes, Frame("a"))
    await turn()
    deliver(boxes, Frame("b"))
    await turn()

    assert [box.recorder.texts for box in boxes[1:]] == [["a", "b"], ["a", "b"]]


async def test_a_burst_beyond_the_bounds_is_no_overflow_while_the_writer_takes_it():
    box = Box(flusher(), max_bytes=50, max_frames=5)
    texts = [str(number) for number in range(1000)]
    for text in texts:
        assert box.push(Frame(text))
    await turn()

    assert box.recorder.texts == texts
    assert box.overflows == []


async def test_the_bound_in_frames_is_exact():
    box = Box(flusher(), max_frames=3)
    box.recorder.stuck = True

    assert [box.push(Frame("x")) for _ in range(3)] == [True] * 3
    await turn()
    assert box.overflows == []
    box.push(Frame("x"))
    await turn()

    assert box.overflows == [0]
    assert not box.push(Frame("x"))
    await turn()
    assert box.overflows == [0]


async def test_the_bound_in_bytes_is_exact_and_counts_the_frames_of_the_writer():
    box = Box(flusher(), max_bytes=10)
    box.recorder.stuck = True
    box.push(Frame("12345"))
    await turn()
    box.push(Frame("6789é"))
    await turn()

    assert box.overflows == [0]  # both are with the writer, which counts them

    box = Box(flusher(), max_bytes=10)
    box.recorder.stuck = True
    box.push(Frame("12345"))
    await turn()
    box.push(Frame("67890"))
    await turn()

    assert box.overflows == []


async def test_a_corked_outbox_keeps_everything_until_it_is_uncorked():
    box = Box(flusher())
    box.cork()
    box.push(Frame("a"))
    await turn()
    box.push(Frame("b"))
    box.flush()
    assert box.recorder.writes == []

    box.uncork()
    assert box.recorder.writes == [["a", "b"]]
    box.push(Frame("c"))
    await turn()
    assert box.recorder.texts == ["a", "b", "c"]


async def test_a_corked_outbox_is_bounded():
    box = Box(flusher(), max_frames=3)
    box.cork()
    for _ in range(10):
        box.push(Frame("x"))

    assert box.overflows == [4]
    box.uncork()
    assert box.recorder.writes == []


async def test_shut_throws_away_and_says_how_much():
    box = Box(flusher())
    box.push(Frame("a"))
    box.push(Frame("b"))

    assert box.shut() == 2
    assert box.shut() == 0
    assert not box.push(Frame("c"))
    await turn()
    assert box.recorder.writes == []


STEPS = st.lists(
    st.sampled_from(["push", "deliver", "deliver", "turn", "stall", "resume", "cork", "uncork", "big"]),
    max_size=60,
)


@given(STEPS)
def test_under_any_steps_the_order_is_kept_and_the_bound_holds(steps):
    asyncio.run(_whatever_happens(steps))


async def _whatever_happens(steps):
    box = Box(flusher(), max_bytes=60, max_frames=6)
    taken: list[str] = []
    for number, step in enumerate(steps):
        if step in ("push", "deliver", "big"):
            text = f"{number:03}" * (7 if step == "big" else 1)
            before = len(box.overflows)
            push = box.push if step == "push" else lambda frame: deliver([box], frame)
            if push(Frame(text)) or len(box.overflows) > before:
                taken.append(text)
        elif step == "turn":
            await turn()
        elif step == "stall":
            box.recorder.stuck = True
        elif step == "resume":
            box.recorder.release()
        else:
            getattr(box, step)()
        in_hand = [*box.recorder.texts, *[frame.text for frame in (*box.recorder.held, *box.frames)]]
        assert in_hand == taken[: len(in_hand)]
        assert len(box.overflows) <= 1
        if not box.overflows:
            assert in_hand == taken
            assert len(box.frames) <= 6
            assert box.size == sum(frame.size for frame in box.frames) <= 60
    box.recorder.release()
    box.uncork()
    await turn()
    if not box.overflows:
        assert box.recorder.texts == taken
