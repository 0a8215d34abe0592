"""A command that is given up takes nothing else of the browser with it."""

from __future__ import annotations

import asyncio

import pytest

from tests.services.browser import Browser

pytestmark = pytest.mark.once


async def test_what_is_answered_after_nobody_waits_for_it_disturbs_nobody(browser: Browser) -> None:
    tab = await browser.tab()
    never = asyncio.ensure_future(tab.run("window.asked = true; new Promise(() => {})"))
    await tab.until("window.asked")
    never.cancel()
    with pytest.raises(asyncio.CancelledError):
        await never

    await tab.go("data:text/html,other")  # now the browser answers: the promise has gone
    assert await tab.run("7") == 7
