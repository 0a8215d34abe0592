"""Commands that are given up, and pages that go away, take nothing else of the browser with them."""

from __future__ import annotations

import asyncio
from pathlib import Path

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


async def test_a_wait_goes_on_in_the_page_that_the_one_before_leads_to(
    browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "two.html").write_text("<title>two</title>")
    (tmp_path / "one.html").write_text("<title>one</title>")
    tab = await browser.tab((tmp_path / "one.html").as_uri())
    await tab.until("document.title === 'two' || (location.href = 'two.html', new Promise(() => {}))")
