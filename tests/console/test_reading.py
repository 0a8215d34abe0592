"""Readings: one for all watches that would show the same, none without a watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Hashable
from typing import Any, ClassVar, cast

import pytest

from routing_app.console.access import Member, Viewer
from routing_app.console.reading import Readings, Watch
from routing_app.console.topics import Followed, Topic, TopicError
from routing_app.core.access.masking import SecretAccess

pytestmark = pytest.mark.once


class Worker:
    """What readings need of one."""

    @staticmethod
    def spawn(coroutine: Any) -> asyncio.Task[Any]:
        return asyncio.ensure_future(coroutine)


class Page:
    """Stands for the connection of a page: what it was sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.idle = True
        self._more = asyncio.Event()

    def send(self, text: str) -> bool:
        self.sent.append(json.loads(text))
        self._more.set()
        return True

    async def has(self, count: int) -> list[Any]:
        """Wait for so many frames."""
        async with asyncio.timeout(60):
            while len(self.sent) < count:
                self._more.clear()
                await self._more.wait()
        return self.sent[:count]


class Numbers(Topic):
    """Counts how often it was read."""

    name = "numbers"
    every_seconds: ClassVar = 0.02

    def __init__(self) -> None:
        self.readings: list[Any] = []
        self.error: Exception | None = None

    def variant(self, viewer: Viewer) -> Hashable:
        return viewer.has_perm("a.secret")

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        if self.error is not None:
            raise self.error
        self.readings.append(params)
        return len(self.readings)


class Begun(Numbers):
    """Begins with something else."""

    name = "begun"
    begins_otherwise = True

    async def begin(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        if self.error is not None:
            raise self.error
        return "the past"


class Marks(Numbers):
    """Tells what it was told last only once."""

    name = "marks"
    is_told_again = False
    mark = "first"

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        await super().read(viewer, params)
        return self.mark


class Letters(Followed):
    """Comes by itself, and ends."""

    name = "letters"

    async def follow(self, viewer: Viewer, params: dict[str, Any]) -> AsyncIterator[Any]:
        for letter in params["letters"]:
            yield letter
        raise TopicError(404, "no more letters")


@pytest.fixture
async def readings() -> AsyncIterator[Readings]:
    made = Readings(cast(Any, Worker()))
    yield made
    assert made.running == 0


def watch(
    topic: Topic, page: Page, id: int = 1, params: Any = None, permissions: Any = (), once: bool = False
) -> Watch:
    member = Member("tester", frozenset(permissions), SecretAccess())
    return Watch(id, topic, params or {}, Viewer("", member, cast(Any, page)), once)


def values(frames: list[Any]) -> list[Any]:
    return [frame["data"] for frame in frames]


async def test_equal_params_share_one_reading(readings: Readings) -> None:
    topic, pages = Numbers(), [Page() for _ in range(10)]
    watches = [watch(topic, page, id=number) for number, page in enumerate(pages)]
    for one in watches:
        readings.add(one)

    shown = [values(await page.has(3)) for page in pages]
    assert readings.running == 1
    assert len({tuple(one) for one in shown}) == 1
    assert len(topic.readings) <= max(len(page.sent) for page in pages)
    for one in watches:
        readings.drop(one)


async def test_other_params_and_other_permissions_are_read_by_themselves(readings: Readings) -> None:
    topic, page = Numbers(), Page()
    watches = [
        watch(topic, page, 1, {"a": 1}),
        watch(topic, page, 2, {"a": 2}),
        watch(topic, page, 3, {"a": 1}, ["a.secret"]),
    ]
    for one in watches:
        readings.add(one)

    assert readings.running == 3
    for one in watches:
        readings.drop(one)


async def test_nothing_is_read_without_a_watch(readings: Readings) -> None:
    left, stays, page, other = Numbers(), Numbers(), Page(), Page()
    stays.name = "others"  # type: ignore[misc]
    going, staying = watch(left, page), watch(stays, other)
    readings.add(going)
    readings.add(staying)
    await page.has(2)

    readings.drop(going)
    count = len(left.readings)
    await other.has(len(other.sent) + 5)
    assert len(left.readings) == count
    readings.drop(staying)


async def test_a_mark_is_told_once_to_each_page(readings: Readings) -> None:
    topic, early, late = Marks(), Page(), Page()
    first, second = watch(topic, early), watch(topic, late)
    readings.add(first)
    await early.has(1)
    readings.add(second)
    await late.has(1)
    read = len(topic.readings)
    async with asyncio.timeout(60):
        while len(topic.readings) < read + 3:
            await asyncio.sleep(0)

    topic.mark = "second"
    assert values(await early.has(2)) == values(await late.has(2)) == ["first", "second"]
    for one in (first, second):
        readings.drop(one)


async def test_one_who_comes_later_sees_the_latest_at_once(readings: Readings) -> None:
    topic, early, late = Numbers(), Page(), Page()
    first, second = watch(topic, early), watch(topic, late)
    readings.add(first)
    await early.has(2)
    readings.add(second)

    assert values(late.sent) == [len(topic.readings)]
    readings.drop(first)
    assert values(await late.has(3))[1:] == [late.sent[0]["data"] + 1, late.sent[0]["data"] + 2]
    readings.drop(second)


async def test_a_watch_begins_as_its_topic_says(readings: Readings) -> None:
    topic, pages = Begun(), [Page(), Page()]
    watches = [watch(topic, page) for page in pages]
    for one in watches:
        readings.add(one)

    for page in pages:
        assert values(await page.has(3))[0] == "the past"
        assert "the past" not in values(page.sent)[1:]
    for one in watches:
        readings.drop(one)


async def test_a_page_that_was_behind_begins_again_where_the_next_data_is_not_all(readings: Readings) -> None:
    """Events of a second are in the data of that second alone."""
    topic, page, other = Begun(), Page(), Page()
    watches = [watch(topic, page), watch(topic, other)]
    for one in watches:
        readings.add(one)
    await page.has(2)
    page.idle = False
    seen = len(page.sent)
    await other.has(len(other.sent) + 3)
    assert len(page.sent) == seen

    page.idle = True
    assert values(await page.has(seen + 2))[seen] == "the past"
    assert values(page.sent).count("the past") == 2
    assert values(other.sent).count("the past") == 1
    for one in watches:
        readings.drop(one)


async def test_what_could_not_be_read_at_first_is_read_once_it_can_be(readings: Readings) -> None:
    topic, page = Begun(), Page()
    topic.error = TopicError(503, "down")
    one = watch(topic, page)
    readings.add(one)
    assert (await page.has(1))[0]["error"] == {"status": 503, "detail": "down"}

    topic.error = None
    known = len(page.sent)
    assert "the past" in values((await page.has(known + 1))[known:])
    readings.drop(one)


async def test_a_question_has_one_answer(readings: Readings) -> None:
    page = Page()
    readings.add(watch(Numbers(), page, 1, once=True))
    readings.add(watch(Begun(), page, 2, once=True))

    assert await page.has(2) == [{"id": 1, "data": 1}, {"id": 2, "data": "the past"}]


async def test_an_error_ends_a_watch_and_an_outage_does_not(readings: Readings) -> None:
    topic, page = Numbers(), Page()
    one = watch(topic, page)
    ended = asyncio.Event()
    one.on_end = ended.set
    readings.add(one)
    await page.has(1)

    topic.error = TopicError(503, "away")
    while "error" not in page.sent[-1]:
        await page.has(len(page.sent) + 1)
    topic.error = None
    while "data" not in page.sent[-1]:
        await page.has(len(page.sent) + 1)
    assert not ended.is_set()

    topic.error = TopicError(404, "it has ended")
    async with asyncio.timeout(60):
        await ended.wait()
    assert page.sent[-1] == {"id": 1, "error": {"status": 404, "detail": "it has ended"}}


async def test_a_failure_is_told_without_its_words(readings: Readings, caplog: Any) -> None:
    topic, page = Numbers(), Page()
    topic.error = ZeroDivisionError("the secret")
    one = watch(topic, page)
    readings.add(one)

    (frame,) = await page.has(1)
    assert frame["error"]["status"] == 503
    assert "secret" not in frame["error"]["detail"]
    readings.drop(one)
    assert "the topic numbers failed" in caplog.text


async def test_a_page_that_does_not_read_is_spared(readings: Readings) -> None:
    topic, slow, quick = Numbers(), Page(), Page()
    watches = [watch(topic, slow), watch(topic, quick)]
    for one in watches:
        readings.add(one)
    await slow.has(1)
    slow.idle = False
    held = len(slow.sent)

    await quick.has(len(quick.sent) + 5)
    assert len(slow.sent) == held
    slow.idle = True
    await slow.has(held + 1)
    for one in watches:
        readings.drop(one)


async def test_what_comes_by_itself_is_sent_whole_and_ends(readings: Readings) -> None:
    page = Page()
    one = watch(Letters(), page, params={"letters": "abc"})
    ended = asyncio.Event()
    one.on_end = ended.set
    readings.add(one)

    async with asyncio.timeout(60):
        await ended.wait()
    assert values(page.sent[:3]) == ["a", "b", "c"]
    assert page.sent[3]["error"] == {"status": 404, "detail": "no more letters"}
