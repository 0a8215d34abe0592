"""The pictures of the console in the documents; `SCREENSHOTS=yes` makes them again."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from websockets.sync.client import ClientConnection

from tests.console.playwright import Playwright, PlaywrightPage
from tests.console.population import Population
from tests.monitoring.console import sessions_of
from tests.services.databases import REPOSITORY, Databases
from tests.services.running import running

pytestmark = pytest.mark.once

IMAGES: Final = REPOSITORY / "docs" / "images"
NAMES: Final = ("overview", "connections", "trace", "try")
LARGEST: Final = 250_000
"""Bytes."""
PEOPLE: Final = ("anna", "bert", "carla", "dimitri", "emma", "farid", "greta", "hugo")


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_there_and_shown(name: str) -> None:
    image = IMAGES / f"console-{name}.png"

    assert 10_000 < image.stat().st_size < LARGEST
    assert f"images/console-{name}.png" in (REPOSITORY / "docs" / "console.md").read_text()


def test_the_front_page_shows_one() -> None:
    assert "docs/images/console-overview.png" in (REPOSITORY / "README.md").read_text()


@pytest.mark.skipif(os.environ.get("SCREENSHOTS") != "yes", reason="SCREENSHOTS=yes makes the pictures again")
def test_pictures_are_made(
    playwright: Playwright, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        running(
            databases, tmp_path_factory.mktemp("pictures"), REDIS_URL="", WEBHOOKS_PRIVATE="yes"
        ) as server,
        Population(server) as made,
    ):
        session = sessions_of(server, operator=None)["operator"]
        page = playwright.open(server, session, height=860)
        with traffic(made):
            trace = playwright.open(
                server, session, "trace/?kind=address&value=room:layout/studio", height=620
            )
            trace.steps(["getByLabel", "show"], ["check"])
            trace.press("Follow")
            time.sleep(75)  # charts of something
            take(page, "overview")
            take(trace, "trace")
            page.go("connections/?sort=sent")
            page.until("document.querySelectorAll('#list tbody tr').length > 10")
            take(page, "connections")
            page.go("try/")
            for step in range(5):
                page.click(f"#first-minute li:nth-child({step + 1}) button")
            page.until("document.querySelector('.try-finished').checkVisibility()")
            take(page, "try")


def take(page: PlaywrightPage, name: str) -> None:
    """Make one picture."""
    page.steps(["screenshot", {"path": str(IMAGES / f"console-{name}.png")}])


@contextmanager
def traffic(made: Population) -> Iterator[None]:
    """Clients that come one by one and talk."""
    random.seed(4)
    made.rows()
    ending = threading.Event()
    talking = threading.Thread(target=talk, args=(made, ending))
    talking.start()
    try:
        yield
    finally:
        ending.set()
        talking.join()


def talk(made: Population, ending: threading.Event) -> None:
    """Say something in rooms and to tokens until it ends."""
    made.clients()
    members: list[ClientConnection] = []
    turn = 0
    while not ending.wait(0.1):
        turn += 1
        if turn % 12 == 1 and len(members) < 2 * len(PEOPLE):
            name = PEOPLE[len(members) % len(PEOPLE)]
            members.append(made.open("/layout", f"room of {name}", **{"User-Agent": f"{name}'s browser"}))
            members[-1].send(json.dumps(["JOIN", {"room": "studio", "name": name}]))
            made.open(f"/ws?RegisterToken=orders/{name}{turn}", f"token of {name} {turn}")
        if members:
            message = {"room": "studio", "message": {"cue": f"scene {turn % 9}", "at": turn}}
            random.choice(members).send(json.dumps(["NOTIFY", message]))
        if turn % 3 == 0:
            name = PEOPLE[turn % len(PEOPLE)]
            made.rest(
                "POST", "publish", {"addresses": ["token:orders/"], "message": {"order": turn, "for": name}}
            )
