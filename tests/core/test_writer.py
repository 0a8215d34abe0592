"""Writers: a plain ASGI `send` that takes, waits, yields or fails; and the server's own frame writer."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest
from autobahn.exception import Disconnected
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.codes import INTERNAL, NORMAL, SLOW
from routing_app.core.delivery.connection import Connection, Limits
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.outbox import Flusher
from routing_app.core.delivery.writer import AsgiWriter, DirectWriter
from tests.core.harness import Encoder, lost
from tests.services.waiting import until

pytestmark = pytest.mark.once


class AsgiServer:
    """The server's side of `send`: takes at once while `open`; else waits, as uvicorn does."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.yields = 0
        self.error: Exception | None = None

    async def send(self, message: dict[str, Any]) -> None:
        for _ in range(self.yields):
            await asyncio.sleep(0)
        while not self.open.is_set():
            await self.open.wait()
        if self.error is not None:
            raise self.error
        self.taken.append(message.get("text", "") or f"close {message['code']}")


def frames(*texts: str) -> list[Frame]:
    return [Frame(text) for text in texts]


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_server_that_takes_at_once_is_served_in_place():
    server = AsgiServer()
    writer = AsgiWriter(server.send)

    writer.write(frames("a", "b"))
    writer.close(NORMAL)

    assert server.taken == ["a", "b", "close 1000"]
    assert (writer.held_frames(), writer.held_bytes()) == (0, 0)


async def test_messages_to_a_blocked_server_wait_in_order_and_are_counted():
    server = AsgiServer()
    writer = AsgiWriter(server.send)
    server.open.clear()
    writer.write(frames("first", "second", "drei€"))
    writer.write(frames("4"))
    await settle()
    assert server.taken == []
    assert (writer.held_frames(), writer.held_bytes()) == (4, 5 + 6 + 7 + 1)

    server.open.set()
    await settle()

    assert server.taken == ["first", "second", "drei€", "4"]
    assert (writer.held_frames(), writer.held_bytes()) == (0, 0)
    writer.write(frames("5"))
    assert server.taken[-1] == "5"


async def test_a_send_that_only_yields_loses_nothing():
    server = AsgiServer()
    server.yields = 3
    writer = AsgiWriter(server.send)
    writer.write(frames("a", "b", "c"))
    await settle()

    assert server.taken == ["a", "b", "c"]


@pytest.mark.parametrize("blocked", [False, True])
async def test_a_server_that_fails_is_nobodys_problem(blocked: bool):
    server = AsgiServer()
    writer = AsgiWriter(server.send)
    server.error = OSError("gone")
    if blocked:
        server.open.clear()
    writer.write(frames("a", "b"))
    writer.close(NORMAL)
    server.open.set()
    await settle()
    assert (server.taken, writer.held_frames(), writer.held_bytes()) == ([], 0, 0)

    server.error = None
    writer.write(frames("c"))
    assert server.taken == ["c"]


async def test_a_middleware_that_bounds_its_send_is_in_a_task_of_its_own():
    """`asyncio.timeout` needs one; and the publisher's, on whose turn frames are written, is not the one."""
    server = AsgiServer()
    seconds = 60.0

    async def bounded(message: dict[str, Any]) -> None:
        async with asyncio.timeout(seconds):
            await server.send(message)

    writer = AsgiWriter(bounded)
    asyncio.get_running_loop().call_soon(writer.write, frames("outside any task"))
    await settle()
    writer.write(frames("in place", "too"))
    assert server.taken == ["outside any task", "in place", "too"]

    failed = lost("failed")
    server.open.clear()
    seconds = 0.01
    writer.write(frames("late"))
    seconds = 60.0  # of the close, which waits until this test comes to open
    await until(lambda: failed.grown)
    server.open.set()
    await until(lambda: server.taken[-1].startswith("close"))
    assert server.taken[3:] == ["close 4110"]
    assert failed.grown == 1
    assert asyncio.current_task() is not None


async def test_a_middleware_finds_its_context_variables_from_the_first_step_to_the_last():
    variable: ContextVar[str] = ContextVar("variable")
    server = AsgiServer()

    async def tracing(message: dict[str, Any]) -> None:
        token = variable.set("set")
        await server.send(message)
        variable.reset(token)

    failed = lost("failed")
    writer = AsgiWriter(tracing)
    server.yields = 2
    writer.write(frames("a", "b"))
    await settle()

    assert (server.taken, failed.grown) == (["a", "b"], 0)


@pytest.mark.parametrize("blocked", [False, True], ids=["at once", "after a wait"])
@pytest.mark.parametrize("repeated", [False, True], ids=["once", "always"])
async def test_a_send_that_fails_while_the_peer_is_there_is_counted_and_ends_the_connection(
    blocked: bool, repeated: bool
):
    server = AsgiServer()
    failures = 0

    async def broken(message: dict[str, Any]) -> None:
        nonlocal failures
        if blocked:
            await asyncio.sleep(0)
        failures += 1
        if failures == 2 or (repeated and failures > 2):
            raise RuntimeError("a fault of the middleware")
        await server.send(message)

    failed = lost("failed")
    connection = Connection(
        "0" * 28, "test", AsgiWriter(broken), Flusher(asyncio.get_running_loop()), Encoder()
    )
    for text in ("a", "b", "c", "d"):
        connection.send(text)
    await until(lambda: connection.close_sent)
    await settle()

    assert connection.close_sent is INTERNAL
    assert server.taken == (["a"] if repeated else ["a", "close 4110"])
    assert failed.grown == 3


async def test_an_error_of_daphne_for_a_peer_that_is_gone_is_no_fault():
    server = AsgiServer()
    server.error = Disconnected("Attempt to send on a closed protocol")
    failed = lost("failed")
    writer = AsgiWriter(server.send)
    writer.write(frames("a", "b"))
    await settle()

    assert (failed.grown, writer.held_frames()) == (0, 0)


async def test_abort_throws_away_waiting_frames_and_closes_next():
    server = AsgiServer()
    writer = AsgiWriter(server.send)
    server.open.clear()
    writer.write(frames("begun", "waits", "waits too"))
    await settle()

    slow = lost("slow")
    writer.abort(SLOW)
    assert (writer.held_frames(), writer.held_bytes(), slow.grown) == (2, len("begun"), 2)
    server.open.set()
    await settle()

    assert server.taken == ["begun", f"close {SLOW.code}"]


async def test_a_code_that_daphne_does_not_allow_goes_out_as_its_portable_one():
    server = AsgiServer()
    AsgiWriter(server.send).close(INTERNAL)

    assert server.taken == ["close 4110"]


async def test_the_coroutine_of_a_blocked_server_can_be_cancelled():
    """The loop cancels every task when it ends."""
    server = AsgiServer()
    writer = AsgiWriter(server.send)
    server.open.clear()
    writer.write(frames("a"))
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert task.cancelled()
    server.open.set()
    writer.write(frames("b"))
    assert server.taken == ["b"]


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["write", "write", "block", "open", "turn", "yields"]), st.integers(0, 4)),
    max_size=40,
)


@given(ACTIONS)
def test_under_any_outages_all_frames_arrive_once_and_in_order(actions):
    asyncio.run(_whatever_the_server_does(actions))


async def _whatever_the_server_does(actions):
    server = AsgiServer()
    writer = AsgiWriter(server.send)
    sent: list[str] = []
    for action, number in actions:
        if action == "write":
            texts = [f"{len(sent) + index}" for index in range(number)]
            sent += texts
            writer.write(frames(*texts))
        elif action == "block":
            server.open.clear()
        elif action == "open":
            server.open.set()
        elif action == "yields":
            server.yields = number
        else:
            for _ in range(number):
                await asyncio.sleep(0)
        assert server.taken == sent[: len(server.taken)]
        assert len(server.taken) + writer.held_frames() == len(sent)
    server.open.set()
    for _ in range(6 * len(sent) + 10):
        await asyncio.sleep(0)
    assert server.taken == sent
    assert (writer.held_frames(), writer.held_bytes()) == (0, 0)


class FrameWriter:
    """The extension that our server offers; compressed frames end with the size of their window."""

    def __init__(self, window_bits: int = 0) -> None:
        self.calls: list[Any] = []
        self.open = True
        self.window_bits = window_bits

    def compressed(self, frame: bytes) -> bytes:
        return frame + bytes([self.window_bits])

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def held(self) -> int:
        return 7

    def close(self, code: int, reason: str) -> None:
        self.calls.append((code, reason))

    def abort(self) -> int:
        self.calls.append("abort")
        return 3


def test_the_direct_writer_joins_frames_and_sends_any_code():
    server = FrameWriter()
    writer = DirectWriter(server)
    one, two = frames("one", "two")
    writer.write([one, two])
    writer.write([one])
    writer.close(INTERNAL)
    thrown_away = lost("slow")
    writer.abort(SLOW)

    assert thrown_away.grown == 3
    assert server.calls == [
        one.wire + two.wire,
        one.wire,
        (1011, INTERNAL.reason),
        (SLOW.code, SLOW.reason),
        "abort",
    ]
    assert server.calls[1] is one.wire
    assert (writer.held_bytes(), writer.held_frames()) == (7, 0)


def test_a_frame_is_compressed_once_for_all_clients_with_the_same_window():
    plain, small, one, other = (FrameWriter(bits) for bits in (0, 9, 15, 15))
    frame, second = frames("one", "two")
    for server in (plain, small, one, other):
        DirectWriter(server).write([frame])
        DirectWriter(server).write([frame, second])

    assert plain.calls == [frame.wire, frame.wire + second.wire]
    assert small.calls == [frame.wire + b"\x09", frame.wire + b"\x09" + second.wire + b"\x09"]
    assert one.calls == [frame.wire + b"\x0f", frame.wire + b"\x0f" + second.wire + b"\x0f"]
    assert all(first is then for first, then in zip(one.calls, other.calls, strict=True))


async def test_each_frame_that_a_slow_reader_lost_is_counted_once():
    class Unread(FrameWriter):
        """A peer that never reads."""

        def write(self, data: bytes) -> None:
            self.calls.append(data)

        def held(self) -> int:
            return sum(map(len, self.calls))

        def close(self, code: int, reason: str) -> None:
            """No room for it."""

        def abort(self) -> int:
            return len(self.calls)

    server, slow = Unread(), lost("slow")
    flusher = Flusher(asyncio.get_running_loop())
    connection = Connection(
        "0" * 28, "test", DirectWriter(server), flusher, Encoder(), limits=Limits(1000, 1000)
    )
    while connection.close_sent is None:
        connection.send("x" * 100)
        await asyncio.sleep(0)

    assert (connection.close_sent, slow.grown) == (SLOW, len(server.calls))
