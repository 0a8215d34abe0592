"""The page of sessions shows what players did, and its acts act."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from tests.console.opened import Opened, open_page, statuses
from tests.hooks.backend import call
from tests.monitoring.console import sessions_of
from tests.services.browser import Browser
from tests.services.server import Server
from tests.services.waiting import until
from tests.sessions.conftest import OK, Broker, Customer, Play, play
from tests.sessions.http import Http

# What crosses Redis and databases is tested without a browser.
pytestmark = pytest.mark.once

MARKUP = '<img src=x onerror="problems.push(1)"><b>TV</b>'

LOOK_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"
"""Has the page ask for everything again, as one does that is seen again."""

__all__ = ["play"]


@pytest.fixture(scope="module")
def people(broker: Server) -> dict[str, str]:
    """Session keys: of one who may all, one who may see sessions, one who may see nothing."""
    return sessions_of(broker, boss=None, looks=["sessions_app.view_session"], blind=[])


@pytest.fixture(scope="module")
def house(broker: Server) -> Broker:
    """The server with its publisher `demo`."""
    return Broker(broker)


@pytest.fixture
async def http(house: Broker) -> AsyncIterator[Http]:
    client = Http(house.server.url)
    yield client
    await client.close()


@pytest.fixture
def customer(house: Broker, http: Http) -> Customer:
    """A new customer, whose name is markup."""
    customer = Customer(house, http)
    customer.id = f"<b>{uuid.uuid4().hex[:8]}</b>"
    customer.token = house.token(customer.id)
    return customer


@pytest.fixture
async def page(browser: Browser, broker: Server, people: dict[str, str]) -> AsyncIterator[Any]:
    """Opens the page, narrowed to one customer."""
    opened: list[Opened] = []

    async def open_one(customer: Customer | None = None, name: str = "boss") -> Opened:
        query = "" if customer is None else f"?customer={quote(customer.id)}"
        opened.append(await open_page(browser, broker, people[name], f"sessions/{query}"))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.check()


async def test_sessions_are_shown_as_text_and_counted(page: Any, customer: Customer, play: Play) -> None:
    first = await customer.create(sessionName=MARKUP, deviceName=MARKUP, deviceType="tv")
    await customer.create(sessionName="Phone", offerId="series")
    await play(first)

    shown = await page(customer)
    rows = await shown.until_rows("live", 2)

    assert [row[:5] for row in rows] == [
        [customer.id, "demo", MARKUP, "film", f"{MARKUP} · tv"],
        [customer.id, "demo", "Phone", "series", "–"],
    ]
    assert rows[0][6] == "connected"
    assert rows[1][6].startswith("has not come yet, ends in ")
    assert await shown.texts("#live-pages [role=status]") == ["2 sessions, page 1 of 1"]
    assert await shown.tab.run("document.querySelectorAll('main img, main td b').length") == 0
    # Sessions of other tests may expire in between, and the page sees that by itself.
    await until(lambda: _shows_total(shown, customer.broker.server))

    await customer.create(sessionName="Tablet", tag="live")
    assert (await shown.until_rows("live", 3))[2][2:4] == ["Tablet", "tag live"]


async def test_one_session_is_ended_and_then_all_of_a_customer(
    page: Any, customer: Customer, play: Play
) -> None:
    players = [await play(await customer.create(offerId=offer)) for offer in ("film", "series", "news")]
    other = await play(await Customer(customer.broker, customer.http).create())
    shown = await page(customer)
    await shown.until_rows("live", 3)

    await shown.click("#live tbody tr:nth-child(1) button.danger")
    await shown.confirm("End the session")
    assert await players[0].receives() == {"action": "TAKE_OVER", "sessionName": "operator"}
    assert await players[0].receives() == ("closed", 4003)
    await shown.until_rows("live", 2)

    await shown.click("#end-all")
    asked = await shown.confirm("End all")
    assert f"2 sessions of {customer.id} at demo" in asked
    for player in players[1:]:
        assert await player.receives() == {"action": "TAKE_OVER", "sessionName": "operator"}
        assert await player.receives() == ("closed", 4003)
    await shown.until("document.querySelector('#live .empty').checkVisibility()")
    await shown.until_note(f"2 sessions of {customer.id} ended")
    assert customer.events("killed") == ["killed"] * 3
    assert await other.requested() == OK


async def test_a_question_that_is_not_answered_with_yes_ends_nothing(page: Any, customer: Customer) -> None:
    await customer.create()
    shown = await page(customer)
    await shown.click("#live button.danger")

    await shown.until("document.querySelector('dialog[open]') !== null")
    await shown.tab.run("document.querySelector('dialog[open] button.quiet').click()")
    await shown.until("document.querySelector('dialog') === null")

    await shown.until_rows("live", 1)
    assert customer.events() == ["created"]


async def test_limits_say_what_one_more_session_is_answered_then(page: Any, customer: Customer) -> None:
    customer.limit("account", 2, policy="block")
    customer.limit("offer", 1, policy="evict_oldest", value="film")
    await customer.create(sessionName="TV", offerId="film")
    shown = await page(customer)
    await shown.until("document.querySelectorAll('#limits tbody tr').length >= 2")

    async def ask(**wanted: str) -> str:
        await shown.fill("try", customer=customer.id, **{"offer_id": "", **wanted})
        await shown.tab.run("document.querySelector('#answer').replaceChildren()")
        await shown.click("#try button")
        told: str = await shown.until("document.querySelector('#answer').innerText.trim()")
        return told

    assert "allowed, others end" in await ask(offer_id="film")
    assert (await ask(offer_id="series")).startswith("allowed")
    assert customer.events() == ["created"], "nothing has happened"
    await customer.create(offerId="series")
    told = await ask(offer_id="news")
    refused = await customer.create(offerId="news")

    assert refused.status == 409
    assert told.startswith("refused")
    assert refused.json["message"].lower().removesuffix(" reached.") in told
    assert "no takeover is offered" in told
    full = [row for row in await shown.rows("limits") if row[1] == customer.id]
    assert len(full) == 2


async def test_what_was_denied_is_shown_with_its_reason_and_counted(page: Any, customer: Customer) -> None:
    customer.limit("account", 1, policy="ask")
    await customer.create(sessionName="TV")
    for _ in range(3):
        assert (await customer.create(sessionName=MARKUP)).status == 409

    shown = await page(customer)
    rows = await shown.until_rows("history", 3)

    assert [(row[1], row[2], row[3], row[6]) for row in rows] == [
        ("denied", customer.id, MARKUP, "limit of 1 for account")
    ] * 3
    await shown.until("document.querySelectorAll('#reached tbody tr').length > 0")
    assert [customer.id, "1 for the customer", "1 of 1", "3"] in await shown.rows("reached")
    # The hour may turn in between, and the page sees that by itself.
    await until(lambda: _shows_this_hour(shown, customer.broker.server))


async def _shows_total(shown: Opened, server: Server) -> bool:
    return await shown.texts('[data-sessions="demo"]') == [_total(server)]


async def _shows_this_hour(shown: Opened, server: Server) -> bool:
    return await _legends(shown) == _this_hour(server)


async def _legends(shown: Opened) -> list[str]:
    return [*await _legend(shown, "peak"), *await _legend(shown, "counts")]


async def _legend(shown: Opened, chart: str) -> list[str]:
    await shown.until(f"document.querySelector('#chart-{chart} .value').innerText !== ''")
    return await shown.texts(f"#chart-{chart} .value")


def _total(server: Server) -> str:
    """The sessions of `demo` as REST has them."""
    totals = call(server, "GET", "/api/sessions/totals")[1]["publishers"]
    [total] = [one["sessions"] for one in totals if one["publisher"] == "demo"]
    return str(total)


def _this_hour(server: Server) -> list[str]:
    """The numbers of this hour as REST has them."""
    times = f"from={datetime.now(UTC):%Y-%m-%dT%H:00:00Z}&to={datetime.now(UTC):%Y-%m-%dT%H:%M:59Z}"
    buckets = call(server, "GET", f"/api/sessions/usage?{times}&step=hour")[1]["buckets"]
    return [str(buckets[-1][name]) for name in ("peak", "created", "denied", "taken_over")]


async def test_the_list_is_a_file_without_formulas(page: Any, customer: Customer) -> None:
    await customer.create(sessionName="=1+1")
    shown = await page(customer)
    await shown.until_rows("live", 1)

    text = await shown.tab.run("fetch(document.querySelector('#live-csv').href).then((one) => one.text())")

    [row] = csv.DictReader(io.StringIO(text))
    assert (row["customer"], row["name"]) == (customer.id, "'=1+1")
    past = await shown.tab.run("fetch(document.querySelector('#usage-csv').href).then((one) => one.text())")
    assert past.startswith("from,created,denied,taken_over,evicted,expired,finished,killed,peak\r\n")


async def test_who_may_only_look_has_no_buttons(page: Any, customer: Customer) -> None:
    await customer.create()
    shown = await page(customer, "looks")
    await shown.until_rows("live", 1)

    assert await shown.texts("#live tbody button") == [customer.id]
    assert (
        await shown.tab.run(
            "['end-all', 'past', 'limits', 'change-limits']"
            ".filter((id) => document.getElementById(id).checkVisibility())"
        )
        == []
    )


CALLS = [
    *(("GET", f"sessions/{path}") for path in ("", "totals", "download")),
    *(("GET", f"sessions/{path}") for path in ("history", "history/download", "usage", "usage/download")),
    *(("GET", f"publishers/demo/limits/{path}") for path in ("", "try", "reached")),
    ("DELETE", f"sessions/{uuid.UUID(int=1)}/"),
    ("POST", "sessions/end"),
]


@pytest.mark.parametrize("name", ["blind", "looks"])
async def test_calls_behind_the_page_are_refused_without_permission(
    browser: Browser, broker: Server, people: dict[str, str], name: str
) -> None:
    shown = await open_page(browser, broker, people[name], "")
    answered = await statuses(shown, CALLS)

    seen = {one for one in CALLS if one[1] in ("sessions/", "sessions/totals", "sessions/download")}
    seen |= {one for one in CALLS if one[1].endswith(("/try", "/reached"))}
    allowed = seen if name == "looks" else set()
    assert {one for one, status in answered.items() if status != 403} == allowed


MANY = """
from uuid import uuid4
from django.utils import timezone
from datetime import timedelta
from sessions_app.models import Account, Publisher, Session
account = Account.objects.create(publisher=Publisher.objects.get(name="demo"), customer="{customer}")
now = timezone.now()
Session.objects.bulk_create([
    Session(id=uuid4(), account=account, offer_id="film", name=str(number), created_at=now,
            expires_at=now + timedelta(hours=1))
    for number in range(10_000)
], 2_000)
"""


@pytest.fixture
def crowd(house: Broker) -> Iterator[str]:
    """A customer with 10,000 sessions."""
    name = f"crowd-{uuid.uuid4().hex[:8]}"
    house.server.manage("shell", "-v0", "-c", MANY.format(customer=name))
    yield name
    mine = "(SELECT id FROM sessions_app_account WHERE customer = %s)"
    house.sql(f"DELETE FROM sessions_app_session WHERE account_id = {mine}", name)


async def test_ten_thousand_sessions_are_pages(
    browser: Browser, broker: Server, people: dict[str, str], crowd: str
) -> None:
    shown = await open_page(browser, broker, people["boss"], f"sessions/?customer={crowd}")
    await shown.until_rows("live", 20)
    assert await shown.texts("#live-pages [role=status]") == ["10,000 sessions, page 1 of 500"]
    first = await shown.rows("live")

    await shown.click("#live-pages button:last-child")
    await shown.until("document.querySelector('#live-pages [role=status]').innerText.includes('page 2 of')")

    assert len({row[2] for row in first + await shown.rows("live")}) == 40
    await shown.check()


STEP = """
(async () => {
  const { poll } = await import("/static/console/js/rest.js");
  const turns = [], asked = [], counts = [];
  const wait = window.setTimeout.bind(window);
  let hidden = false;
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  window.setTimeout = (turn, delay) => (delay === 77_000 ? turns.push(turn) : wait(turn, delay));
  window.fetch = async (url) => (asked.push(String(url)), new Response("{}"));
  const polled = poll("sessions/", 77, () => {});
  const timed = async () => { while (turns.length === 0) await new Promise((done) => wait(done)); };
  const turn = async () => { turns.pop()(); await timed(); counts.push(asked.length); };
  const show = () => document.dispatchEvent(new Event("visibilitychange"));
  await timed(); counts.push(asked.length);
  await turn();
  hidden = true;
  await turn(); await turn();
  hidden = false;
  turns.pop(); show(); await timed(); counts.push(asked.length);
  polled.stop(); show(); counts.push(asked.length);
  return counts;
})()
"""


async def test_nothing_is_asked_while_the_page_is_hidden(
    browser: Browser, broker: Server, people: dict[str, str]
) -> None:
    shown = await open_page(browser, broker, people["blind"], "")

    assert await shown.tab.run(STEP) == [1, 2, 2, 2, 3, 3]


RESTS = """
(async () => {
  const { poll } = await import("/static/console/js/rest.js");
  const timers = [], asked = [], counts = [], listeners = new Set();
  const wait = window.setTimeout.bind(window);
  const now = Date.now();
  Date.now = () => now;  // a browser that stands still would find less left of a minute, and wait for it
  const onChange = (callback) => (listeners.add(callback), () => listeners.delete(callback));
  const changes = { mark: "a", onChange };
  window.setTimeout = (turn, delay) => (delay > 50_000 ? timers.push(turn) : wait(turn, delay));
  window.fetch = async (url) => (asked.push(String(url)), new Response("{}"));
  const settled = async () => {
    while (timers.length === 0) await new Promise((done) => wait(done));
    counts.push(asked.length);
  };
  const turn = async () => { timers.splice(0).forEach((due) => due()); await settled(); };
  const become = (mark) => { changes.mark = mark; listeners.forEach((told) => told()); };
  const polled = poll("sessions/", 77, () => {}, () => {}, changes);
  await settled();
  await turn();  // nothing has changed
  timers.splice(0); become("b"); await settled();
  await turn(); await turn();  // nothing has changed, and then for long enough
  become(null); await turn();  // the server cannot tell
  become("c"); await turn(); await turn();
  polled.stop(); become("d"); counts.push(asked.length, listeners.size);
  return counts;
})()
"""


async def test_nothing_is_asked_again_while_nothing_has_changed(
    browser: Browser, broker: Server, people: dict[str, str]
) -> None:
    shown = await open_page(browser, broker, people["blind"], "")

    assert await shown.tab.run(RESTS) == [1, 1, 2, 2, 3, 4, 5, 5, 5, 0]


USAGE_CALLS = """performance.getEntriesByType("resource").map((one) => new URL(one.name))
    .filter((one) => one.pathname.endsWith("/sessions/usage"))
    .map((one) => Date.parse(one.searchParams.get("to")) - Date.parse(one.searchParams.get("from")))"""
HOUR = 3_600_000


async def test_usage_is_read_again_of_the_last_two_hours_alone(page: Any, customer: Customer) -> None:
    await customer.create()
    shown = await page(customer)
    assert len(await _legends(shown)) == 4
    await shown.tab.run(LOOK_AGAIN)
    await shown.until(f"{USAGE_CALLS}.length > 1")

    first, *_, last = await shown.tab.run(USAGE_CALLS)
    assert 22 * HOUR < first < 24 * HOUR
    assert HOUR < last < 2 * HOUR + 120_000

    # What was read again takes the place of what was shown for the hour.
    await customer.create()
    await shown.tab.run(LOOK_AGAIN)
    await until(lambda: _shows_this_hour(shown, customer.broker.server))
    assert await shown.tab.run("document.querySelectorAll('#chart-peak canvas').length") == 1
