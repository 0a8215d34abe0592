"""Tasks that begin at once are tasks like any other, save that what does not wait has ended at once."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.eager import EagerTasks

pytestmark = pytest.mark.once

VALUE: ContextVar[object] = ContextVar("VALUE", default=None)
STEPS = ("pause", "timed out", "timed", "shielded", "set", "cancel oneself", "start", "raise", "exit")


class BrokenStepError(Exception):
    pass


async def turns() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


async def with_spare() -> EagerTasks:
    """Tasks with a spare one that is ready."""
    kept = set[asyncio.Task[None]]()

    def spawn(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        kept.add(task)
        return task

    tasks = EagerTasks(spawn)
    tasks.start(asyncio.sleep(0))
    await turns()
    return tasks


async def at_once(value: float | None) -> float | None:
    return value


async def take(step: str) -> object:
    task = asyncio.current_task()
    assert task is not None
    match step:
        case "pause":
            await asyncio.sleep(0)
        case "timed out":
            async with asyncio.timeout(0):
                await asyncio.get_running_loop().create_future()
        case "timed":
            async with asyncio.timeout(3600) as limit:
                limit.reschedule(await at_once(None))
                return limit.expired()
        case "shielded":
            return await asyncio.shield(asyncio.sleep(0, "shielded"))
        case "set":
            VALUE.set(step)
        case "cancel oneself":
            task.cancel("by itself")
        case "start":
            return await asyncio.create_task(asyncio.sleep(0, VALUE.get()))
        case "exit":
            raise asyncio.CancelledError("raised")
        case _:
            raise BrokenStepError
    return None


async def handler(steps: list[str], log: list[Any]) -> None:
    task = asyncio.current_task()
    assert task is not None
    for step in steps:
        try:
            log.append((step, await take(step)))
        except (asyncio.CancelledError, TimeoutError) as error:
            log.append((step, type(error), error.args))
            if step == "exit":
                raise
        log.append((VALUE.get(), asyncio.current_task() is task, task.cancelling()))


async def test_a_context_that_was_changed_is_not_seen_by_the_next() -> None:
    tasks, log = await with_spare(), list[Any]()
    assert tasks.start(handler(["set"], log)) is None
    tasks.start(handler(["timed"], log))
    await turns()
    assert log == [("set", None), ("set", True, 0), ("timed", False), (None, True, 0)]


Start = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None] | None"]


async def play(start: Start, handlers: list[list[str]]) -> list[Any]:
    """All that handlers see, one after another, and what becomes of their tasks."""
    seen: list[Any] = []
    for steps in handlers:
        log: list[Any] = []
        caller = asyncio.current_task()
        task = start(handler(steps, log))
        assert asyncio.current_task() is caller
        await turns()
        assert task is None or task.done()
        error = None if task is None or task.cancelled() else task.exception()
        seen += [log, task is not None and task.cancelled(), type(error), VALUE.get()]
    return seen


@given(st.lists(st.lists(st.sampled_from(STEPS), max_size=5), min_size=1, max_size=5))
def test_handlers_see_what_they_see_in_ordinary_tasks(handlers: list[list[str]]) -> None:
    async def both() -> None:
        ordinary = await play(asyncio.create_task, handlers)
        assert await play((await with_spare()).start, handlers) == ordinary

    asyncio.run(both())


async def test_one_that_does_not_wait_has_ended_at_once() -> None:
    tasks, log = await with_spare(), list[Any]()
    before = asyncio.all_tasks()
    for _ in range(3):
        assert tasks.start(handler(["timed"], log)) is None
    assert log == [("timed", False), (None, True, 0)] * 3
    assert asyncio.all_tasks() == before, "none was made"


async def test_those_that_wait_overlap_and_begin_in_order() -> None:
    tasks, log, ready = await with_spare(), list[str](), asyncio.Event()

    async def one(name: str) -> None:
        log.append(f"{name} begins")
        await ready.wait()
        log.append(f"{name} ends")

    started = [tasks.start(one(name)) for name in "abc"]
    assert log == ["a begins"]
    await turns()
    assert log == ["a begins", "b begins", "c begins"]
    ready.set()
    await turns()
    assert log[3:] == ["a ends", "b ends", "c ends"]
    assert all(task is not None and task.done() for task in started)


@pytest.mark.parametrize("keep", [lambda task: task, weakref.ref], ids=["a reference", "a weak one"])
async def test_a_task_that_is_given_away_is_not_used_again(keep: Callable[[Any], Any]) -> None:
    tasks, kept = await with_spare(), list[Any]()

    async def give_away() -> None:
        kept.append(keep(asyncio.current_task()))

    async def look() -> None:
        kept.append(asyncio.current_task())

    assert tasks.start(give_away()) is None
    first = kept[0] if isinstance(kept[0], asyncio.Task) else kept[0]()
    assert first is not None
    tasks.start(look())
    await turns()
    assert kept[1] is not first
    assert first.done()


async def test_one_that_fails_at_once_hands_out_its_task() -> None:
    tasks = await with_spare()
    task = tasks.start(handler(["raise"], []))
    assert task is not None
    assert isinstance(task.exception(), BrokenStepError)


async def test_one_that_starts_another_does_not_lose_it() -> None:
    tasks, log = await with_spare(), list[Any]()

    async def outer() -> None:
        tasks.start(handler(["timed"], log))

    assert tasks.start(outer()) is None
    await turns()
    assert log == [("timed", False), (None, True, 0)]
    assert tasks.start(handler(["timed"], log)) is None
