"""A task that is resumed in place is a task like any other: it does what it would have done by a future."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard_server.frames import PING, PONG, TEXT
from switchboard_server.receive_queue import MAX_MESSAGES
from switchboard_server.waiter import Waiter
from tests.server.driven import LEFT, Driven, client_close, turn
from tests.server.plain import client_frame

pytestmark = pytest.mark.once

VALUE: ContextVar[int] = ContextVar("VALUE", default=0)


class Waits(Protocol):
    def __await__(self) -> Generator[Any, None, None]: ...

    def wake(self) -> None: ...

    def wake_soon(self) -> None: ...


class ByFuture:
    """The same by a future for each wait, as asyncio has it."""

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    def __await__(self) -> Generator[Any, None, None]:
        self._future = asyncio.get_running_loop().create_future()
        yield from self._future

    def wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    wake_soon = wake


TURNS = 40
"""Turns of the loop in which a task takes all of its steps, up to one that waits."""


class BrokenStepError(Exception):
    pass


async def by_the_loop(call: Callable[[], object]) -> None:
    """Have the loop itself call something, as it calls a transport, and let all that follows from it happen.

    A waiter wakes its task a turn before a future does, and a timeout of zero would tell the two apart.
    """
    asyncio.get_running_loop().call_soon(call)
    for _ in range(TURNS):
        await turn()


# --- a task, whatever it does -----------------------------------------------------------------------------

STEPS = ("wait", "timed out", "timed", "shielded", "pause", "set", "cancel oneself", "start another", "raise")
EVENTS = ("wake", "wake soon", "cancel", "cancel and wake", "nothing")


async def take(step: str, waits: Waits) -> object:
    match step:
        case "wait":
            await waits
        case "timed out":
            async with asyncio.timeout(0):
                await waits
        case "timed":
            async with asyncio.timeout(3600) as limit:
                await waits
                return limit.expired()
        case "shielded":
            await asyncio.shield(asyncio.sleep(0))
        case "pause":
            await asyncio.sleep(0)
        case "set":
            VALUE.set(VALUE.get() + 1)
        case "cancel oneself":
            task = asyncio.current_task()
            assert task is not None
            return task.cancel("by itself")
        case "start another":
            return await asyncio.create_task(asyncio.sleep(0, VALUE.get()))
        case _:
            raise BrokenStepError
    return None


async def application(steps: list[str], waits: Waits, log: list[Any]) -> int:
    task = asyncio.current_task()
    assert task is not None
    for step in steps:
        try:
            log.append((step, await take(step, waits)))
        except (asyncio.CancelledError, TimeoutError) as error:
            log.append((step, type(error), error.args))
        log.append((VALUE.get(), asyncio.current_task() is task, task.cancelling()))
    await waits
    return VALUE.get()


async def play(waits: Waits, steps: list[str], events: list[str]) -> list[Any]:
    """All that a task sees, and what has become of it."""
    log: list[Any] = []
    task = asyncio.create_task(application(steps, waits, log))

    def cancel_and_wake() -> None:
        task.cancel("and woken")
        waits.wake()

    calls = {
        "wake": waits.wake,
        "wake soon": waits.wake_soon,
        "cancel": lambda: task.cancel("from outside"),
        "cancel and wake": cancel_and_wake,
        "nothing": lambda: None,
    }
    await by_the_loop(calls["nothing"])
    for event in events:
        log.append(event)
        await by_the_loop(calls[event])
    if not task.done():
        log.append("goes on")
    while not task.done():
        task.cancel()
        await turn()
    done = await asyncio.gather(task, return_exceptions=True)
    return [*log, task.cancelled(), [(type(one), getattr(one, "args", one)) for one in done], VALUE.get()]


@given(
    st.lists(st.sampled_from(STEPS), max_size=8),
    st.lists(st.sampled_from(EVENTS), max_size=10),
)
def test_it_behaves_as_by_a_future(steps: list[str], events: list[str]) -> None:
    async def both() -> None:
        assert await play(Waiter(), steps, events) == await play(ByFuture(), steps, events)

    asyncio.run(both())


# --- in place ---------------------------------------------------------------------------------------------


async def test_it_runs_within_the_call_that_wakes_it() -> None:
    waiter, log = Waiter(), list[object]()

    async def wait() -> None:
        while True:
            await waiter
            log.append(asyncio.current_task())

    def wake() -> None:
        for _ in range(3):
            waiter.wake()
        log.append("behind")

    task = asyncio.create_task(wait())
    await turn()
    await by_the_loop(wake)
    assert log == [task, task, task, "behind"]

    waiter.wake()
    assert len(log) == 4, "one task does not run within another"
    await turn()
    assert log[4:] == [task]
    task.cancel()


async def test_only_one_waits() -> None:
    waiter = Waiter()
    first = asyncio.create_task(anext(aiter(_waits(waiter))))
    await turn()
    with pytest.raises(RuntimeError, match="already being awaited"):
        await waiter
    await by_the_loop(waiter.wake)
    assert first.done()


async def _waits(waiter: Waiter) -> Any:
    await waiter
    yield


# --- an application that serves a socket ------------------------------------------------------------------


async def test_frames_are_handled_in_the_read_in_which_they_come() -> None:
    driven, log = Driven().opened(), list[Any]()

    async def serve() -> None:
        while (message := await driven.websocket.receive())["type"] == "websocket.receive":
            log.append((message["text"], asyncio.current_task()))
            await driven.websocket.send({"type": "websocket.send", "text": message["text"]})
        log.append((message["code"], message["reason"]))

    def read() -> None:
        driven.feed(client_frame(TEXT, b"a") + client_frame(TEXT, b"b") + client_close(4000))
        log.append("read")

    task = asyncio.create_task(serve())
    await turn()
    await by_the_loop(read)

    assert log == [("a", task), ("b", task), "read", (4000, "")]
    assert driven.sent()[:2] == [(TEXT, b"a"), (TEXT, b"b")]
    assert task.done()


async def test_an_application_may_know_where_a_read_begins_and_ends() -> None:
    """And a control frame is answered behind what the application has answered to the frames before it."""
    driven, log = Driven().opened(), list[str]()

    def around(handle: Callable[[], None]) -> None:
        log.append("begins")
        handle()
        log.append("ends")

    async def application() -> None:
        while (message := await driven.websocket.receive())["type"] == "websocket.receive":
            log.append(message["text"])
            await driven.websocket.send({"type": "websocket.send", "text": message["text"]})

    driven.websocket.writer.around_reads = around
    task = asyncio.create_task(application())
    await turn()
    ping = client_frame(PING, b"p")
    await by_the_loop(
        lambda: driven.feed(
            client_frame(TEXT, b"a") + client_frame(TEXT, b"b") + ping + client_frame(TEXT, b"c")
        )
    )
    assert log == ["begins", "a", "b", "ends", "begins", "c", "ends"]
    assert driven.sent() == [(TEXT, b"a"), (TEXT, b"b"), (PONG, b"p"), (TEXT, b"c")]
    driven.websocket.connection_lost()
    assert [driven.websocket.writer.around_reads] == [None]
    await task


async def test_frames_behind_one_that_waits_are_kept_in_order_and_bounded() -> None:
    driven, log, ready = Driven().opened(), list[Any](), asyncio.Event()
    numbers = [str(number) for number in range(3 * MAX_MESSAGES)]

    async def serve() -> None:
        while (message := await driven.websocket.receive())["type"] == "websocket.receive":
            if message["text"] == "2":
                await ready.wait()
            log.append(message["text"])
        log.append((message["code"], message["reason"]))

    task = asyncio.create_task(serve())
    await turn()
    frames = b"".join(client_frame(TEXT, number.encode()) for number in numbers)
    await by_the_loop(lambda: driven.feed(frames))
    assert log == ["0", "1"]
    assert not driven.connection.reading(), "its queue is full"

    ready.set()
    await turn()
    assert log == numbers
    assert driven.connection.reading()
    await by_the_loop(driven.websocket.connection_lost)
    assert log[-1] == LEFT
    assert task.done()


async def test_an_application_that_fails_in_a_read_fails_alone() -> None:
    driven = Driven().opened()

    async def serve() -> None:
        await driven.websocket.receive()
        raise BrokenStepError

    def read() -> None:
        driven.feed(client_frame(TEXT, b"a") * 3)
        log.append("read")

    log: list[str] = []
    task = asyncio.create_task(serve())
    await turn()
    await by_the_loop(read)

    assert log == ["read"]
    assert isinstance(task.exception(), BrokenStepError)
    assert driven.received() == ["a", "a"]
