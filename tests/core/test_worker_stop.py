"""A worker that stops comes to its end, whatever its tasks do."""

from __future__ import annotations

import asyncio

import pytest

from routing_app.core import worker as module
from routing_app.core.worker import Worker
from tests.core.layers import Bus, LaggingLayer
from tests.services.waiting import until

pytestmark = pytest.mark.once


async def test_tasks_that_go_on_are_told_again_and_keep_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """An error that comes as a task is cancelled may take the place of the cancellation."""
    monkeypatch.setattr(module, "END_SECONDS", (0.01, 0.01))
    worker = Worker(LaggingLayer(Bus()), asyncio.get_running_loop())
    told = {"once": 0, "always": 0}
    ends = asyncio.Event()

    async def goes_on(name: str, times: int) -> None:
        while not ends.is_set():
            try:
                await ends.wait()
            except asyncio.CancelledError:
                told[name] += 1
                if told[name] > times:
                    raise

    once, always = worker.spawn(goes_on("once", 1)), worker.spawn(goes_on("always", 1000))
    await asyncio.sleep(0)  # they have begun
    stopping = asyncio.ensure_future(worker.stop())
    await until(stopping.done)

    assert once.cancelled()
    assert not always.done()
    assert "goes_on" in caplog.text
    ends.set()
    await always
