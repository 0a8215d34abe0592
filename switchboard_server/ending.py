"""The end of a process whose server has returned: what applications have left is cancelled, or left behind.

An application may have tasks of its own, and threads that wait for them: a view that is synchronous waits in
a thread for what it asked the loop to do. Python waits for all threads before it ends, without a limit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("switchboard.ending")

CANCEL_SECONDS: Final = 1.0
"""Seconds that tasks get to end after they are cancelled."""
THREADS_SECONDS: Final = 12.0
"""Longest wait for threads: a statement that a database does not answer ends sooner by itself."""


def cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks that are left on a loop that has been stopped; threads that wait for them go on."""
    if tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_SECONDS))


def end_without_threads(
    seconds: float = THREADS_SECONDS, end: Callable[[int], object] = os._exit
) -> threading.Timer:
    """Have the process end with 1 unless its threads end in time. Returns what waits for that."""

    def give_up() -> None:
        names = ", ".join(sorted(one.name for one in threading.enumerate() if not one.daemon))
        logger.warning("threads did not end within %g s and are left behind: %s", seconds, names)
        end(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    return timer
