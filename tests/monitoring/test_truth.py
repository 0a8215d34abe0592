"""Numbers and lists of two processes equal what the test's own clients did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.monitoring.conftest import Pair
from tests.monitoring.console import Console, Refused
from tests.requests.peer import Peer
from tests.services.waiting import wait_until
from tests.tokens.client import Client

Consoles = Callable[..., Console]
Peers = Callable[..., Peer]
Tokens = Callable[..., Client]


def totals(one: Console) -> dict[str, float]:
    found: dict[str, float] = one.ask("overview")["totals"]
    return found


def growth(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    names = before.keys() | after.keys()
    changed = {name: after.get(name, 0) - before.get(name, 0) for name in names}
    return {name: value for name, value in changed.items() if value}


def deliveries(peer: Peer, count: int) -> list[Any]:
    """The messages of the next deliveries."""
    found: list[Any] = []
    while len(found) < count:
        frame = peer.next()
        if frame.get("type") == "delivery":
            found.append(frame["message"])
    return found


def publish(peer: Peer, address: str, count: int) -> None:
    """Publish so many messages."""
    for _ in range(count):
        peer.ask("publish", addresses=[address], message="x")


def counts_publications(page: Console, peer: Peer) -> bool:
    """Have publications counted by address from now on; True when the worker of a peer does."""
    page.ask("addresses")
    publish(peer, "token:counted", 1)
    return bool(page.ask("address", address="token:counted")["published"])


def status_of(page: Console, watch: int) -> int:
    """The status with which a watch ends; 0 for other data."""
    try:
        page.next(watch)
    except Refused as refused:
        return refused.status
    return 0


def from_all(one: Console, topic: str, **params: Any) -> dict[str, Any]:
    """The answer to which all workers have given theirs: on a busy machine one may not be in time."""
    found: dict[str, Any] = {}

    def is_whole() -> bool:
        found.update(one.ask(topic, **params))
        return not found.get("missing")

    wait_until(is_whole)
    return found


def all_rows(page: Console, topic: str, size: int, **params: Any) -> list[dict[str, Any]]:
    """The rows of all pages; again from the first one where a worker was not in time for one of them."""

    def whole() -> list[dict[str, Any]] | None:
        first = from_all(page, topic, size=size, **params)
        rows = list(first["rows"])
        for number in range(2, first["pages"] + 1):
            rows += from_all(page, topic, size=size, page=number, **params)["rows"]
        return rows if len(rows) == first["count"] else None

    return list(wait_until(whole))


def test_totals_are_what_clients_did_at_both_processes(pair: Pair, console: Consoles, peers: Peers) -> None:
    page = console()
    watch = page.watch("overview")  # what consoles and workers say to each other counts nowhere
    for _ in range(3):  # one reading serves all that ask within half a second: this one began here
        page.next(watch)
    before = totals(page)
    here, there, publisher = peers(pair[0]), peers(pair[1]), peers(pair[1])
    for one in (here, there):
        one.ask("subscribe", addresses=["token:sum"])

    for number in range(5):
        publisher.ask("publish", addresses=["token:sum"], message=number)
    assert deliveries(here, 5) == deliveries(there, 5) == [0, 1, 2, 3, 4]
    there.close()

    expected = {
        "connections.requests": 2,
        "opened": 3,
        "closed": 1,
        "received": 2 + 5,
        "published": 5,
        "delivered": 10,
    }
    found: dict[str, float] = {}

    def is_as_expected() -> bool:
        nonlocal found
        found = growth(before, totals(page))
        return found == expected

    try:
        wait_until(is_as_expected, 60)
    finally:
        assert found == expected


def test_the_past_and_what_is_now_add_up_to_the_totals(pair: Pair, console: Consoles, peers: Peers) -> None:
    sender = peers(pair[1])
    for number in range(30):
        sender.ask("publish", addresses=["token:nobody"], message=number)
    page = console()

    def is_whole() -> bool:
        found = page.ask("overview")
        series = found["past"]["series"]
        assert {len(values) for values in series.values()} == {900}
        names = ("opened", "closed", "received", "published", "delivered")
        sums = {name: sum(filter(None, series[name])) for name in names}
        # A second that is not over is in the totals only.
        return sums == {name: found["totals"][name] for name in names}

    wait_until(is_whole)
    watch = page.watch("overview")
    assert "past" in page.next(watch)
    later = page.next(watch)
    assert "past" not in later

    def is_of_all(found: dict[str, Any]) -> bool:
        """Of a worker that was asked long ago nothing is shown, as after a stop of the machine."""
        serving = [one for one in found["workers"] if one["state"] == "serving"]
        answered = {one["id"] for one in serving if (one["age"] or 9) < 5}
        shown = {name.partition(".")[2] for name in found["now"] if name.startswith("memory.")}
        return found["now"].get("connections.requests") == 1 and answered == shown

    wait_until(lambda: is_of_all(page.next(watch)))


def test_connections_are_filtered_sorted_and_paged_without_repeats(
    pair: Pair, console: Consoles, peers: Peers, tokens: Tokens
) -> None:
    page = console()
    opened = [peers(pair[number % 2]) for number in range(7)]
    for number, one in enumerate(opened):
        for _ in range(number):
            one.ask("whoami")
    tokens(pair[0], "monitored")

    wait_until(lambda: page.ask("connections")["by_protocol"] == {"requests": 7, "tokens": 1})
    rows = all_rows(page, "connections", 3, sort="received", protocol="requests")
    assert [row["received"] for row in rows] == [6, 5, 4, 3, 2, 1, 0]
    assert [row["sent"] for row in rows] == [6, 5, 4, 3, 2, 1, 0]
    assert [row["backlog"] for row in rows] == [0] * 7
    assert len({row["id"] for row in rows}) == 7
    assert len({row["worker"] for row in rows}) == 2
    ages = all_rows(page, "connections", 2)
    assert [row["since"] for row in ages] == sorted(row["since"] for row in ages)
    youngest = all_rows(page, "connections", 2, descending=False)
    assert [row["id"] for row in youngest] == [row["id"] for row in reversed(ages)]

    def count(**params: Any) -> int:
        return int(from_all(page, "connections", **params)["count"])

    assert count(worker=rows[0]["worker"]) in (3, 4, 5)
    assert count(search=rows[0]["id"][-10:]) == 1
    assert count(identity="monitored") == count(address="token:monitored") == 1
    assert count(network="127.0.0.0/8") == count(network="127.0.0.1") == 8
    assert count(network="::ffff:127.0.0.0/104") == 8
    assert count(network="192.0.2.0/24") == count(search="nothing has this") == 0


def test_one_connection_is_shown_until_it_ends(pair: Pair, console: Consoles, peers: Peers) -> None:
    page = console()
    one = peers(pair[1], additional_headers={"User-Agent": "monitored/1"})
    one.ask("subscribe", addresses=["token:b", "token:a"])
    (row,) = from_all(page, "connections", address="token:a")["rows"]

    watch = page.watch("connection", id=row["id"])
    shown = page.next(watch)
    assert {name: shown[name] for name in row} == row
    assert shown["user_agent"] == "monitored/1"
    assert shown["subscriptions"] == ["token:b", "token:a"]
    assert shown["grant"] == {"kind": "key", "name": "first run", "expires": None}
    assert [name["kind"] for name in shown["revocable"]] == ["key", "network"]
    assert pair[1].api_key.startswith(shown["revocable"][0]["value"])
    frame = one.socket
    one.send({"direction": "REQUEST", "type": "whoami", "key": "é"})
    later = wait_until(lambda: (now := page.next(watch))["received"] != row["received"] and now)
    sent = len('{"direction": "REQUEST", "type": "whoami", "key": "\\u00e9"}')
    assert later["received"] - row["received"] == 1
    assert later["received_bytes"] - row["received_bytes"] == sent
    answer = frame.recv(timeout=60)
    assert isinstance(answer, str)
    wait_until(lambda: page.next(watch)["sent_bytes"] - row["sent_bytes"] == len(answer.encode()))

    one.close()
    assert wait_until(lambda: status_of(page, watch)) == 404
    other = peers(pair[0])
    other.ask("subscribe", addresses=["token:c"])
    (row,) = from_all(page, "connections", address="token:c")["rows"]

    def closes() -> list[int]:
        return [one["code"] for one in page.ask("connection", id=row["id"])["closes"]]

    wait_until(lambda: closes()[-1:] == [1000])


def test_addresses_have_the_subscribers_of_both_processes_and_their_rate(
    pair: Pair, console: Consoles, peers: Peers, tokens: Tokens
) -> None:
    page = console()
    here, there = peers(pair[0]), peers(pair[1])
    wait_until(lambda: counts_publications(page, there))
    here.ask("subscribe", addresses=["token:n1", "token:n2", "token:n3"])
    there.ask("subscribe", addresses=["token:n2", "token:n3", "token:n4"])
    tokens(pair[1], "n3")
    publish(there, "token:n4", 10)
    publish(there, "token:n9", 1)  # nobody is there

    def totals_of() -> list[tuple[str, int]]:
        return [(row["address"], row["total"]) for row in all_rows(page, "addresses", 2, search="token:n")]

    def busiest() -> dict[str, Any]:
        rows = page.ask("addresses", search="token:n", sort="rate")["rows"]
        return dict(rows[0]) if rows else {}

    # Numbers are those of the workers that were in time.
    wait_until(lambda: totals_of() == [("token:n3", 3), ("token:n2", 2), ("token:n1", 1), ("token:n4", 1)])
    wait_until(lambda: (one := busiest()) and (one["address"], one["published"]) == ("token:n4", 10))

    def is_fast() -> bool:
        """Publications of the last ten seconds count, and the machine may have been busy for longer."""
        publish(there, "token:n4", 10)
        one = busiest()
        return bool(one and one["address"] == "token:n4" and one["rate"] >= 1)

    wait_until(is_fast)
    shown: dict[str, Any] = {}

    def is_whole() -> bool:
        shown.update(page.ask("address", address="token:n3"))
        return len({row["worker"] for row in shown["connections"]}) == 2

    wait_until(is_whole)
    assert shown["subscribers"] == {"requests": 2, "tokens": 1}
    assert len(shown["connections"]) == 3
    assert shown["stream"] is None


def test_identities_and_secret_addresses_are_masked(pair: Pair, console: Consoles, tokens: Tokens) -> None:
    tokens(pair[1], "let-me-in")
    clerk, root = console("clerk"), console("root")

    (seen,) = from_all(clerk, "connections", protocol="tokens")["rows"]
    (known,) = from_all(root, "connections", protocol="tokens")["rows"]
    assert (seen["identity"], known["identity"]) == ("le… (9)", "let-me-in")
    assert from_all(clerk, "connections", search="let-me")["count"] == 0
    assert from_all(root, "connections", search="let-me")["count"] == 1
    rows = wait_until(lambda: clerk.ask("addresses", kind="token")["rows"])  # its worker was in time
    assert [row["address"] for row in rows] == ["token:le… (9)"]
    assert clerk.ask("addresses", search="let-me")["count"] == 0
    network = {"kind": "network", "value": "127.0.0.1"}
    masked, whole = (one.ask("connection", id=seen["id"]) for one in (clerk, root))
    assert masked["subscriptions"] == ["token:le… (9)"]
    assert masked["revocable"] == [network]
    assert whole["revocable"] == [{"kind": "token", "value": "let-me-in"}, network]


def test_topics_need_their_permissions_and_sensible_params(console: Consoles) -> None:
    visitor, root = console("visitor"), console()
    for topic, params in {
        "connections": {},
        "connection": {"id": "x"},
        "addresses": {},
        "address": {"address": "token:a"},
        "workers": {},
        "settings": {},
    }.items():
        with pytest.raises(Refused) as refused:
            visitor.ask(topic, **params)
        assert refused.value.status == 403
    for topic, wrong in (
        ("connections", {"page": 201, "size": 50}),
        ("connections", {"page": 0}),
        ("connections", {"size": True}),
        ("connections", {"sort": "colour"}),
        ("connections", {"network": "here"}),
        ("connections", {"strange": 1}),
        ("connections", {"search": "x" * 600}),
        ("addresses", {"sort": "age"}),
        ("address", {"address": "nothing"}),
    ):
        with pytest.raises(Refused) as refused:
            root.ask(topic, **wrong)
        assert refused.value.status == 400, (topic, wrong)
    with pytest.raises(Refused) as gone:
        root.ask("connection", id="0" * 28)
    assert gone.value.status == 404


def test_workers_say_where_their_settings_differ(console: Consoles) -> None:
    page = console()

    def both() -> Any:
        """The worker that is asked, and the other one, when it was in time and has measured its memory."""
        found = page.ask("workers")
        in_time = [one for one in found["workers"] if one["memory"] and (one["age"] or 9) < 5]
        serving = [one for one in in_time if one["state"] == "serving"]
        return len(serving) == 2 and sorted(serving, key=lambda one: one["id"] != found["here"])

    here, other = wait_until(both)
    assert here["differs"] == {}
    assert other["differs"].pop("MAX_RECEIVERS") == "8"
    assert set(other["differs"]) <= {"PORT", "VAR_DIR", "SWITCHBOARD_API_KEY"}
    # Its values are for those that may see settings.
    assert [one for one in console("clerk").ask("workers")["workers"] if one["differs"] is not None] == []
    assert here["lease_age"] < 15
    assert here["memory"] > 10_000_000


def test_settings_have_their_source_and_show_no_secret(pair: Pair, console: Consoles) -> None:
    found = {one["name"]: one for one in console().ask("settings")}

    assert found["MAX_RECEIVERS"]["value"] == "7"
    assert (found["MAX_RECEIVERS"]["default"], found["MAX_RECEIVERS"]["source"]) == ("1000", "environment")
    assert found["MAX_OUTBOX_FRAMES"]["source"] == "default"
    assert found["SECRET_KEY"]["value"] == "set"
    assert found["TLS_KEY"]["value"] == "not set"
    assert {one["source"] for one in found.values()} == {"environment", "default"}
    assert pair[0].env["SECRET_KEY"] not in str(found)
    assert all(one["help"] for one in found.values())
