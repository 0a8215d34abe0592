"""Every page of the console in a browser while all names are markup: shown as text, accessible, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest

from routing_app.console.menu import PAGES
from tests.console.behind import BEHIND
from tests.console.playwright import LARGE, SMALL, Playwright, PlaywrightPage
from tests.console.population import MARKUP, Population
from tests.monitoring.console import Console, sessions_of
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server

pytestmark = pytest.mark.once

TOKEN: Final = f"token:{MARKUP.format('token')}"

# What each page is asked for beside its path, and texts of which each is shown.
SHOWN: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "overview": ("", ()),
    "connections": ("", ("token",)),
    "connection": ("", ("agent", "token")),
    "addresses": ("", ("token", "room", "channel")),
    "address": (f"?address={quote('token:' + MARKUP.format('kept'))}", ("kept", "message")),
    "trace": (f"?kind=address&value={quote(TOKEN)}", ("echo again",)),
    "try": ("", ()),
    "sessions": ("", ("customer", "film", "living room", "television")),
    "webhooks": ("", ("webhook",)),
    "hooks": ("", ("never",)),
    "scheduled": ("", ("later", "kept")),
    "workers": ("", ()),
    "audit": ("", ("webhook",)),
    "settings": ("", ()),
}


@pytest.fixture(scope="module")
def population(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Population]:
    """A server on which every name is markup."""
    folder = tmp_path_factory.mktemp("markup")
    options = {"REDIS_URL": "", "WEBHOOKS_PRIVATE": "yes"}
    with running(databases, folder, **options) as server, Population(server, MARKUP) as made:
        made.rows()
        made.clients()
        yield made


@pytest.fixture(scope="module")
def root(population: Population) -> str:
    """The session of a superuser whose name is markup, too."""
    name = MARKUP.format("root")
    return sessions_of(population.server, **{name: None})[name]


@pytest.fixture(scope="module")
def page(playwright: Playwright, population: Population, root: str) -> Iterator[PlaywrightPage]:
    """One tab that goes from page to page."""
    opened = playwright.open(population.server, root)
    yield opened
    opened.close()


def path_of(name: str, server: Server, session: str) -> str:
    """Path and query of a page."""
    [page] = [one for one in PAGES if one.name == name]
    if "<str:id>" not in page.path:
        return page.path + SHOWN[name][0]
    console = Console(server, session)
    [row] = console.ask("connections", protocol="tokens")["rows"]
    console.close()
    return page.path.replace("<str:id>", row["id"])


def wait_for(page: PlaywrightPage, texts: tuple[str, ...]) -> None:
    """Each text is on the page, in a field or out of one."""
    for text in texts:
        page.steps(["waitForFunction", IS_SHOWN, MARKUP.format(text)])


IS_SHOWN: Final = """(text) => document.querySelector("main").textContent.includes(text)
    || [...document.querySelectorAll("main :is(input, textarea)")].some((one) => one.value.includes(text))"""
ELEMENTS: Final = "document.querySelectorAll('[onmouseover], [onerror], img[src=x]').length"
SIDEWAYS: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_every_page_is_walked() -> None:
    assert set(SHOWN) == {page.name for page in PAGES}


PLANT: Final = """{
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.querySelector("main").append(script, document.createElement("img"));
    document.querySelector("main").style.width = "2000px";
    void Promise.reject(new Error("planted"));
}"""


def test_what_is_planted_is_found(playwright: Playwright, population: Population, root: str) -> None:
    page = playwright.open(population.server, root, "hooks/")
    page.run(PLANT)

    assert [one["id"] for one in page.violations()] == ["image-alt"]
    assert page.run(SIDEWAYS) > 0
    assert page.run("window.ran") is None
    found = " ".join(page.problems())
    assert "policy: script-src" in found
    assert "planted" in found
    page.close()


@pytest.mark.parametrize("name", SHOWN)
def test_a_page_is_in_order(name: str, page: PlaywrightPage, population: Population, root: str) -> None:
    page.look(LARGE, "light")
    page.steps(["goto", "about:blank"])
    before, called = len(page.problems()), len(page.called())
    page.go(path_of(name, population.server, root))
    if name == "trace":
        follow(page, population)
    wait_for(page, SHOWN[name][1])
    assert MARKUP.format("root") in page.texts(".user")

    found: dict[str, Any] = {}
    for width, scheme in ((LARGE, "light"), (LARGE, "dark"), (SMALL, "dark"), (SMALL, "light")):
        page.look(width, scheme)
        if violations := page.violations():
            found[f"{width} {scheme}"] = violations
        if (sideways := page.run(SIDEWAYS)) > 0:
            found[f"{width} sideways"] = sideways
    assert found == {}
    assert page.run(ELEMENTS) == 0
    assert page.problems()[before:] == []
    calls = {re.sub("publishers/[^/]+/", "publishers/{}/", one) for one in page.called()[called:]}
    assert calls <= set(BEHIND[name].calls)


def follow(page: PlaywrightPage, population: Population) -> None:
    """Trace with bodies a client that then says something."""
    page.steps(["getByLabel", "show"], ["check"])
    page.press("Follow")
    page.until("document.querySelector('#state').innerText.startsWith('Following ')")
    population.sockets["tokens"].send(f"Echo:{MARKUP.format('echo again')}")


def test_a_wait_goes_on_in_the_page_that_the_one_before_leads_to(page: PlaywrightPage) -> None:
    page.go("hooks/")
    page.until(
        "location.pathname.endsWith('/audit/') || (location.href = '../audit/', new Promise(() => {}))"
    )


def test_a_page_that_waits_for_its_server_can_be_read(page: PlaywrightPage) -> None:
    page.look(LARGE, "light")
    page.go("")
    page.until("document.querySelector('.worker') !== null")
    page.run("document.querySelector('.legend button').click()")
    page.run("document.body.classList.add('stale')")
    assert page.run("getComputedStyle(document.querySelector('main')).filter") != "none"

    for scheme in ("light", "dark"):
        page.look(LARGE, scheme)
        assert page.violations() == []
    page.run("document.querySelector('main').style.opacity = '.62'")
    assert {one["id"] for one in page.violations()} == {"color-contrast"}


COLOURS: Final = """(async () => {
    const { colour, faint } = await import("/static/console/js/series.js");
    return [colour("s1"), faint(colour("s1"))].join(" ");
})()"""
LIGHT: Final = "rgb(52, 87, 213) rgba(52, 87, 213, .18)"
DARK: Final = "rgb(124, 157, 255) rgba(124, 157, 255, .18)"


def test_charts_have_the_colours_of_the_theme(page: PlaywrightPage) -> None:
    page.go("hooks/")
    for scheme, colours in (("light", LIGHT), ("dark", DARK)):
        page.look(LARGE, scheme)
        assert page.run(COLOURS) == colours
    page.run("document.documentElement.dataset.theme = 'light'")
    assert page.run(COLOURS) == LIGHT
    page.look(LARGE, "light")
    page.run("document.documentElement.dataset.theme = 'dark'")
    assert page.run(COLOURS) == DARK
