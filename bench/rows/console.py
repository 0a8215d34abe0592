"""The console: what a page that is open in a browser costs the server, beside connections that are idle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from statistics import median
from typing import Final

from bench.bench import Bench
from bench.contestants import TOKENS, Running, switchboard
from bench.load import Dialect, Load
from bench.measures import RECEIVERS
from bench.section import Column, Mark, Reading, Results, Row, Section, Unavailable, at_most
from bench.sessions_load import Customers, pace, secret_of
from tests.monitoring.console import sessions_of
from tests.services.browser import Browser, Chromium, find_chromium
from tests.services.server import Server
from tests.sessions.http import Http

CONNECTIONS: Final = 10_000
CROWD: Final = Dialect("/ws?RegisterToken=load/{n}", header="X-Forwarded-For: 2001:db8::{n}")
"""Each comes from an address of its own, and has one subscription of its own."""
OPTIONS: Final = {"TRUSTED_PROXIES": "127.0.0.1", "PING_INTERVAL": "3600", "PING_TIMEOUT": "3600"}
"""Without pings, which come in waves that are larger than what is measured."""
CREATES: Final = 5
"""Sessions that are created a second, where sessions come."""
PAIRS: Final = 5
"""Phases of the fan-out with the page closed, and as many with it open, one after the other."""
LEAST_SECONDS: Final = 8
"""For which the closed page is measured, before and after."""
BEGUN_SECONDS: Final = 3
"""After a page was opened or closed: what that costs itself is over."""
MOST: Final = 1.0
MOST_FAN_OUT: Final = 3.0
FAN_OUT: Final = f"fan-out to {RECEIVERS}, 16 in flight: Overview"

PLAYERS: Final = """
from datetime import timedelta
from uuid import uuid4
from django.utils import timezone
from sessions_app.models import Account, EventKind, Publisher, Session, SessionEvent
now, hour = timezone.now(), timedelta(hours=1)
publisher = Publisher.objects.get(name="demo")
accounts = Account.objects.bulk_create(
    [Account(publisher=publisher, customer=f"customer{n}") for n in range(5_000)], 1_000)
Session.objects.bulk_create([
    Session(id=uuid4(), account=accounts[n % 5_000], name="TV", device_type="tv",
            offer_id=f"film{n % (50 if n % 10 == 0 else 47)}",
            created_at=now - hour * (n + 1) / 10_000, expires_at=now + hour) for n in range(10_000)], 1_000)
kinds = [EventKind.CREATED, EventKind.BOUND, EventKind.DENIED, EventKind.EXPIRED, EventKind.FINISHED]
SessionEvent.objects.bulk_create([
    SessionEvent(at=now - 24 * hour * n / 50_000, kind=kinds[n % 5], account=accounts[n % 5_000], name="TV",
                 session_id=None if n % 5 == 2 else uuid4(), offer_id=f"film{n % 50}", by="customer",
                 created_at=None if n % 5 == 2 else now - 24 * hour * n / 50_000 - hour / 2)
    for n in range(50_000)], 1_000)
"""
"""10,000 sessions that live, a customer of ten at the limit, and 50,000 events of the last 24 hours."""


@dataclass(frozen=True)
class Visit:
    """A page below `/console/`, the selector of what it shows once it is there, and how long it stays open.

    `seconds` hold several of its rarest readings.
    """

    path: str
    shows: str
    seconds: float = 12
    players: bool = False
    creates: bool = False


VISITS: Final = {
    "Overview": Visit("", ".worker"),
    "Connections": Visit("connections/", "#list tbody tr"),
    "Connections, of one network": Visit("connections/?network=2001:db8::/32", "#list tbody tr"),
    "Addresses": Visit("addresses/", "#list tbody tr"),
    "Sessions, 10,000 that play": Visit("sessions/", "#live tbody tr", 62, players=True),
    f"Sessions, and {CREATES} a second that come": Visit("sessions/", "#live tbody tr", 62, True, True),
}


@dataclass(frozen=True)
class Site:
    """A server that believes the load where it comes from, and a browser of a member of the staff."""

    running: Running
    server: Server
    chromium: Chromium
    session: str

    @asynccontextmanager
    async def opened(self, visit: Visit) -> AsyncIterator[None]:
        """A page, while it is open and shows what it has to show."""
        async with Browser(self.chromium) as browser:
            await browser.set_cookie(self.server.url, "sessionid", self.session)
            tab = await browser.tab(f"{self.server.url}/console/{visit.path}")
            await tab.until(f"document.querySelector({json.dumps(visit.shows)}) !== null")
            yield


@contextmanager
def _site(bench: Bench) -> Iterator[Site]:
    if find_chromium() is None:
        raise Unavailable("Chromium is not installed")
    with (
        switchboard("serve", **OPTIONS)(bench) as running,
        Chromium(bench.new_folder()) as chromium,
    ):
        assert running.server is not None
        session = sessions_of(running.server, root=None)["root"]
        yield Site(running, running.server, chromium, session)


def _visited(visit: Visit, bench: Bench) -> Reading:
    with _site(bench) as site, Load(site.running.port, CROWD) as load:
        if visit.players:
            site.server.manage("shell", "-v0", "-c", PLAYERS)
        load.open(CONNECTIONS, at_once=64)
        return asyncio.run(_cost(visit, bench, site, load))


async def _cost(visit: Visit, bench: Bench, site: Site, load: Load) -> Reading:
    """The part of a core that the server uses with the page closed, before and after, and open."""
    seconds = visit.seconds / 4 if bench.quick else visit.seconds

    async def percent(seconds: float) -> float:
        with bench.meter(site.running, load) as meter:
            await asyncio.to_thread(load.idle, seconds)
        return 100 * meter.server_seconds / meter.seconds

    async with _creating(site.server) if visit.creates else nullcontext():
        before = await percent(min(seconds, LEAST_SECONDS))
        async with site.opened(visit):
            await asyncio.sleep(BEGUN_SECONDS)
            opened = await percent(seconds)
        await asyncio.sleep(BEGUN_SECONDS)
        closed = (before + await percent(min(seconds, LEAST_SECONDS))) / 2
    return {"closed": closed, "open": opened, "more": opened - closed}


@asynccontextmanager
async def _creating(server: Server) -> AsyncIterator[None]:
    """Sessions come in the meantime."""
    http = Http(server.url)
    request = Customers(http, secret_of(server), 1_000).create
    load = asyncio.ensure_future(pace(request, CREATES, float("inf"), count()))
    try:
        yield
    finally:
        load.cancel()
        with suppress(asyncio.CancelledError):
            await load
        await http.close()


def _fanned_out(bench: Bench) -> Reading:
    with _site(bench) as site, Load(site.running.port, TOKENS) as load:
        load.open(RECEIVERS, at_once=32)
        load.flood(0.3, 4)
        return asyncio.run(_pairs(bench, site, load))


async def _pairs(bench: Bench, site: Site, load: Load) -> Reading:
    """Processor time of a delivery with the page closed and open, and by how much the second is more."""
    faults: list[str] = []

    async def flood() -> float:
        phase = partial(load.flood, bench.seconds, 16)
        sample = await asyncio.to_thread(bench.sample, site.running, load, phase)
        faults.append(sample.phase.uneven)
        return sample.server_us

    closed, opened = [], []
    for _ in range(1 if bench.quick else PAIRS):
        closed.append(await flood())
        async with site.opened(VISITS["Overview"]):
            await asyncio.sleep(BEGUN_SECONDS)
            opened.append(await flood())
    if any(faults):
        return dict.fromkeys(("us_closed", "us_open", "us_more"), max(faults))
    more = median(100 * (one / other - 1) for one, other in zip(opened, closed, strict=True))
    return {"us_closed": median(closed), "us_open": median(opened), "us_more": more}


def _marks(results: Results) -> list[Mark]:
    marks = []
    for label in VISITS:
        more = results.get(label, {}).get("more")
        marks += at_most(f"{label}: at most {MOST:g} % of a core", more, MOST, " %")
    more = results.get(FAN_OUT, {}).get("us_more")
    return marks + at_most(f"fan-out beside it: at most {MOST_FAN_OUT:g} % more", more, MOST_FAN_OUT, " %")


SECTION = Section(
    name="console",
    title=f"A page of the console that is open, beside {CONNECTIONS:,} connections",
    columns=(
        Column("closed", "closed: % of a core", 2),
        Column("open", "open: % of a core", 2),
        Column("more", "more", 2),
        Column("us_closed", "closed: CPU µs a delivery", 2),
        Column("us_open", "open: CPU µs a delivery", 2),
        Column("us_more", "more, in %", 1),
    ),
    rows=(
        *(Row(label, partial(_visited, visit), quick=not visit.creates) for label, visit in VISITS.items()),
        Row(FAN_OUT, _fanned_out),
    ),
    marks=_marks,
    order=82,
)
