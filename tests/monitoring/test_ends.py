"""Workers that drain, hang and die, as the console of another process shows them."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.faults.cluster import read_metric
from tests.monitoring.conftest import Pair
from tests.monitoring.console import Console
from tests.requests.peer import Peer
from tests.requests.serving import serving
from tests.services.databases import Databases
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once  # its processes share a Redis on both stacks

Consoles = Callable[..., Console]
Peers = Callable[..., Peer]


@pytest.fixture(scope="module")
def crowd(databases: Databases, tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Iterator[Server]:
    """Two more workers, under a supervisor."""
    shared = {name: pair[0].env[name] for name in ("REDIS_URL", "DATABASE_URL", "SECRET_KEY")}
    with serving(databases, tmp_path_factory, WORKERS="2", **shared) as server:
        yield server
        server.stop()  # in order, so that none of its workers is listed until its lease is over


def call(server: Server, method: str, path: str, key: str = "") -> tuple[int, Any]:
    """A call of REST: its status, and the answer."""
    headers = {"X-API-Key": key or server.api_key}
    request = urllib.request.Request(server.url + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def workers(page: Console) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in page.ask("workers")["workers"]}


def kinds(page: Console, worker: str) -> set[str]:
    """The kinds of events about a worker."""
    return {event["kind"] for event in page.ask("overview")["events"] if event["worker"] == worker}


def tells(page: Console, worker: str, kind: str) -> bool:
    """True when an event of that kind about a worker is shown."""
    return kind in kinds(page, worker)


def died(server: Server) -> float:
    return read_metric(server, 'switchboard_lost_total{reason="worker_died"}')


def test_a_drained_worker_sends_its_clients_away_and_another_takes_its_place(
    pair: Pair, crowd: Server, console: Consoles, peers: Peers
) -> None:
    page = console()
    client = peers(crowd)
    (row,) = wait_until(lambda: page.ask("connections")["rows"])
    doomed = row["worker"]
    assert workers(page)[doomed]["state"] == "serving"
    # One may come in between.
    serving = {id for id, one in workers(page).items() if one["state"] == "serving"}
    listed = {one["id"]: one for one in call(pair[0], "GET", "/api/workers/")[1]["results"]}
    assert doomed in listed
    assert set(listed) >= serving
    before = died(pair[0])

    assert call(pair[0], "POST", f"/api/workers/{doomed}/drain") == (202, {"id": doomed, "state": "draining"})

    assert client.close_code()[0] == 1012
    wait_until(lambda: workers(page)[doomed]["state"] == "gone")
    wait_until(lambda: sum(one["state"] == "serving" for one in workers(page).values()) == 4)
    wait_until(lambda: "has ended in order, starting another" in crowd.log_text())
    for kind in ("worker_joined", "worker_drained", "worker_gone"):
        wait_until(partial(tells, page, doomed, kind))
    assert died(pair[0]) == before
    (entry,) = call(pair[0], "GET", "/api/audit/?action=drain")[1]["results"]
    assert (entry["target"], entry["outcome"]) == (f"core.workerrecord {doomed}", "ok")
    assert call(pair[0], "POST", f"/api/workers/{doomed}/drain")[0] == 404
    assert call(pair[0], "POST", "/api/workers/00/drain", key="wrong")[0] == 401


def is_oldest(found: dict[str, Any], victim: str) -> bool:
    """True when what is known of a worker is more than a second old, and of all others younger."""
    ages = {id: one["age"] or 0 for id, one in found.items() if one["state"] == "serving" or id == victim}
    return ages[victim] > 1 and all(age < ages[victim] for id, age in ages.items() if id != victim)


def is_over(page: Console, victim: str) -> bool:
    """True when a worker is shown as one that serves no more."""
    return bool(workers(page).get(victim, {}).get("state") != "serving")


def sees(page: Console, victim: str, condition: Callable[[], bool]) -> bool:
    """Wait until something is seen of a worker; False where its lease is over before."""
    return wait_until(lambda: "seen" if condition() else is_over(page, victim) and "over") == "seen"


def is_seen_to_hang(page: Console, victim: str, pid: int) -> bool:
    """Have a worker hang until that is seen; a busy machine may take longer than the worker's lease lasts."""
    os.kill(pid, signal.SIGSTOP)
    try:
        return sees(page, victim, lambda: is_oldest(workers(page), victim)) and sees(
            page, victim, lambda: page.ask("connections")["missing"] == [victim]
        )
    finally:
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: not is_over(page, victim))


def test_a_worker_that_hangs_holds_up_nobody_and_one_that_dies_is_gone(
    pair: Pair, crowd: Server, console: Consoles, peers: Peers
) -> None:
    page = console()
    peers(crowd)
    (row,) = wait_until(lambda: page.ask("connections")["rows"])
    victim = row["worker"]
    pid = workers(page)[victim]["pid"]
    wait_until(lambda: is_seen_to_hang(page, victim, pid))
    wait_until(lambda: page.ask("connections")["missing"] == [])

    stays, asks_only = peers(pair[0]), peers(pair[0])
    stays.ask("subscribe", addresses=["channel:stays"])
    before = [died(one) for one in pair]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: workers(page)[victim]["state"] == "gone")
    wait_until(lambda: "worker_gone" in kinds(page, victim))
    # What it had taken and not sent is counted by the others, and told to subscribers who need not be closed.
    wait_until(lambda: all(died(one) > count for one, count in zip(pair, before, strict=True)))
    assert stays.next()["type"] == "gap"
    assert asks_only.silent() == []
