"""Limits on the sockets of every protocol, with a server and real clients: each command, and what follows."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.rate_limits.client import Socket, refusals
from tests.rate_limits.outages import again_if_redis_was_out
from tests.requests.peer import call
from tests.services.limits import limited
from tests.services.server import Server
from tests.services.waiting import wait_until

BURST = 3
FAST = {"rate": 100, "burst": 1}


@dataclass(frozen=True)
class Way:
    """How a client of a protocol does what a command counts, and what tells that it was done or refused."""

    protocol: str
    command: str
    path: str
    frame: Callable[[str, int], str]
    """A frame, by the name of the test's own target, and a number."""
    done: Callable[[str, int], str]
    """A part of a frame that comes where it was done."""
    refused: str = ""
    """A part of the frame that comes where it was refused; empty: nothing comes."""
    settle: str = ""
    """A frame that no limit of the command counts, and that is answered last."""
    settled: str = ""

    def __str__(self) -> str:
        return f"{self.protocol} {self.command} at {self.path.partition('?')[0]}"


WAYS = [
    Way(
        "tokens",
        "publish",
        "/ws?RegisterToken={t}",
        lambda t, n: f"{t}|message {n}.",
        lambda t, n: f"message {n}.",
        settle="Echo:end",
        settled="end",
    ),
    Way(
        "rooms",
        "publish",
        "/bus",
        lambda t, n: json.dumps(["NOTIFY", {"room": t, "message": f"message {n}."}]),
        lambda t, n: f"message {n}.",
        settle='["CLIENTS", {"room": "nobody"}]',
        settled="CLIENTS",
    ),
    Way(
        "rooms",
        "subscribe",
        "/layout",
        lambda t, n: json.dumps(["JOIN", {"room": f"{t}{n}.", "name": "n"}]),
        lambda t, n: f"{t}{n}.",
        refused='"ERROR"',
        settle='["CLIENTS", {"room": "nobody"}]',
        settled="CLIENTS",
    ),
    Way(
        "events",
        "publish",
        "/websocket?channel_id={t}",
        lambda t, n: json.dumps({"type": "channel", "channel_ids": [t], "data": {"n": f"message {n}."}}),
        lambda t, n: f"message {n}.",
        refused="Too many events! Try again in",
        settle='{"type": "connection"}',
        settled='"client_id"',
    ),
    Way(
        "events",
        "request",
        "/websocket",
        lambda t, n: json.dumps({"type": "walker", "walker": "nobody", "id": n}),
        lambda t, n: f'"id":{n}',
        refused="Too many events! Try again in",
        settle='{"type": "connection"}',
        settled='"client_id"',
    ),
    Way(
        "requests",
        "publish",
        "/connection",
        lambda t, n: json.dumps(
            {
                "direction": "REQUEST",
                "type": "publish",
                "key": f"k{n}.",
                "addresses": [f"token:{t}"],
                "message": n,
            }
        ),
        lambda t, n: f"k{n}.",
        refused='"code":"rate"',
        settle='{"direction": "REQUEST", "type": "whoami", "key": "end"}',
        settled='"end"',
    ),
    Way(
        "requests",
        "subscribe",
        "/connection",
        lambda t, n: json.dumps(
            {"direction": "REQUEST", "type": "subscribe", "key": f"k{n}.", "addresses": [f"token:{t}{n}"]}
        ),
        lambda t, n: f"k{n}.",
        refused='"code":"rate"',
        settle='{"direction": "REQUEST", "type": "whoami", "key": "end"}',
        settled='"end"',
    ),
    Way(
        "requests",
        "request",
        "/connection",
        lambda t, n: json.dumps({"direction": "REQUEST", "type": "whoami", "key": f"k{n}."}),
        lambda t, n: f"k{n}.",
        refused='"code":"rate"',
    ),
]


def prepared(server: Server, way: Way, host: str) -> tuple[Socket, str, Socket | None]:
    """A client, its target, and where that is another client, who reads what it publishes."""
    target = f"t{secrets.token_hex(4)}"
    client = Socket(server, way.path.format(t=target), host)
    if way.protocol == "events":
        client.texts("client_id")
    reader = None
    if way.protocol == "rooms" and way.command == "publish":
        reader = Socket(server, "/bus", "10.200.0.1")
        reader.send(json.dumps(["JOIN", {"room": target, "name": "r"}]), '["CLIENTS", {"room": "nobody"}]')
        reader.texts("CLIENTS")
    return client, target, reader


def came(server: Server, way: Way, client: Socket, target: str, reader: Socket | None) -> list[str]:
    """Frames that tell what was done and refused, until all that was sent is handled."""
    client.send(way.settle)
    frames = client.texts(way.settled)
    if reader is not None:
        marker = f"m{secrets.token_hex(4)}"
        assert (
            call(server, "/api/publish", {"addresses": [f"room:bus/{target}"], "message": marker})[0] == 200
        )
        frames += reader.texts(marker)
    if way.protocol == "rooms" and way.command == "subscribe":
        for number in range(10):
            client.send(json.dumps(["CLIENTS", {"room": f"{target}{number}."}]))
            (answer,) = client.texts("CLIENTS")
            frames += [answer] if '"n"' in answer else []
    return frames


def count(way: Way, target: str, frames: list[str]) -> tuple[int, int]:
    """How many were done and refused."""
    refused = [frame for frame in frames if way.refused and way.refused in frame]
    others = [frame for frame in frames if frame not in refused]
    done = [number for number in range(10) if any(way.done(target, number) in frame for frame in others)]
    return len(done), len(refused)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("per", ["connection", "network"])
@again_if_redis_was_out()
def test_what_is_beyond_a_limit_is_refused(broker: Server, host: str, way: Way, per: str):
    client, target, reader = prepared(broker, way, host)
    before = refusals(broker, way.protocol)
    # A request that asks how it went counts as one, too.
    burst = BURST + (way.command == "request" and way.protocol == "requests")
    with limited(broker, way.protocol, way.command, per, burst=burst):
        client.send(*(way.frame(target, number) for number in range(5)))
        if way.settle:
            done, refused = count(way, target, came(broker, way, client, target, reader))
        else:
            done, refused = count(way, target, client.texts("k4."))

    assert done == burst
    assert refused == (5 - burst if way.refused else 0)
    assert refusals(broker, way.protocol) - before == 5 - burst
    client.close()


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_is_beyond_a_limit_closes_the_connection(broker: Server, host: str, way: Way):
    client, target, _ = prepared(broker, way, host)
    with limited(broker, way.protocol, way.command, "connection", burst=BURST, then="close"):
        client.send(*(way.frame(target, number) for number in range(BURST + 1)))
        assert client.close_code() == 4101


@pytest.mark.parametrize("way", WAYS, ids=str)
@again_if_redis_was_out()
def test_what_is_beyond_a_limit_waits_and_nothing_is_lost(broker: Server, host: str, way: Way):
    client, target, reader = prepared(broker, way, host)
    with limited(broker, way.protocol, way.command, "network", **FAST, then="wait"):
        begun = time.monotonic()
        client.send(*(way.frame(target, number) for number in range(5)))
        frames = came(broker, way, client, target, reader) if way.settle else client.texts("k4.")
        assert time.monotonic() - begun >= 4 / 100 - 0.01

    assert count(way, target, frames) == (5, 0)
    client.close()


def test_tokens_that_are_registered_beyond_a_limit_are_skipped(broker: Server, host: str):
    client, names = Socket(broker, "/ws", host), [f"r{secrets.token_hex(4)}" for _ in range(3)]
    with limited(broker, "tokens", "subscribe", "connection", burst=2):
        client.send(*(f"RegisterToken:{name}" for name in names), "Echo:end")
        client.texts("end")
        client.send(*(f"{name}|to {name}" for name in names), "Echo:over")
        frames = client.texts("over")

    assert frames == [f"to {names[1]}", "over"]
    client.close()


def test_a_batch_counts_each_of_its_messages(broker: Server, host: str):
    client = Socket(broker, "/connection", host)

    def publish(number: int) -> str:
        messages = [{"addresses": ["token:nobody"], "message": one} for one in range(number)]
        frame = {"direction": "REQUEST", "type": "publish_batch", "key": "b", "messages": messages}
        client.send(json.dumps(frame))
        return client.texts('"b"')[-1]

    with limited(broker, "requests", "publish", "connection", burst=5):
        assert '"code":"rate"' not in publish(4)
        assert '"code":"rate"' in publish(2)
        assert '"code":"rate"' not in publish(1)
    client.close()


# --- everything -------------------------------------------------------------------------------------------

ANYTHING = [
    ("tokens", "/ws", "Echo:{n}.", "{n}.", ""),
    ("rooms", "/layout", '["CLIENTS", {{"room": "{n}."}}]', "{n}.", ""),
    ("events", "/websocket", '{{"type": "walker", "walker": "w", "id": "{n}."}}', "{n}.", "Too many events!"),
    (
        "requests",
        "/connection",
        '{{"direction": "REQUEST", "type": "whoami", "key": "{n}."}}',
        "{n}.",
        '"code":"rate"',
    ),
]


@pytest.mark.parametrize(
    ("protocol", "path", "frame", "done", "refused"), ANYTHING, ids=[one[0] for one in ANYTHING]
)
def test_frames_of_every_kind_count_as_anything(
    broker: Server, host: str, protocol: str, path: str, frame: str, done: str, refused: str
):
    client = Socket(broker, path, host)
    before = refusals(broker, protocol)
    with limited(broker, "*", "*", "connection", burst=2) as id:
        client.send(*(frame.format(n=number) for number in range(4)))
        wait_until(lambda: refusals(broker, protocol) - before == 2)
    assert id
    client.send(frame.format(n="last"))
    frames = [one for one in client.texts("last.") if '"connection"' not in one or "client_id" not in one]

    assert [one for one in frames if refused and refused in one] == frames[2:4] if refused else True
    rest = [one for one in frames if not (refused and refused in one)]
    assert [done.format(n=n) in text for n, text in zip((0, 1, "last"), rest, strict=True)] == [True] * 3
    client.close()


# --- owners -----------------------------------------------------------------------------------------------


@again_if_redis_was_out()
def test_an_identity_counts_on_all_its_connections_and_nobody_counts_for_nobody(
    broker: Server, host: str, other_host: str
):
    token, others = f"t{secrets.token_hex(4)}", f"t{secrets.token_hex(4)}"

    def connect(path: str, place: str = host) -> Socket:
        return Socket(broker, path, place, keyed=False)

    one, two = (connect(f"/ws?RegisterToken={token}", place) for place in (host, other_host))
    other, nobody = connect(f"/ws?RegisterToken={others}"), connect("/ws")
    reader = connect(f"/ws?RegisterToken={others}/r")
    with limited(broker, "tokens", "publish", "identity", burst=2):
        for client, name in ((one, "one"), (two, "two"), (other, "other"), (nobody, "nobody")):
            client.send(*(f"{others}/r|{name} {number}" for number in range(3)), "Echo:end")
            client.texts("end")
    reader.send("Echo:end")

    assert reader.texts("end") == [
        *("one 0", "one 1"),
        *("other 0", "other 1"),
        *("nobody 0", "nobody 1", "nobody 2"),
        "end",
    ]
    for client in (one, two, other, nobody, reader):
        client.close()


@again_if_redis_was_out()
def test_a_key_counts_wherever_it_is_presented(broker: Server, host: str, other_host: str):
    one, two = Socket(broker, "/connection", host), Socket(broker, "/connection", other_host)
    frame = {"direction": "REQUEST", "type": "publish", "addresses": ["token:nobody"], "message": 1}
    with limited(broker, "requests", "publish", "key", burst=3):
        answers = []
        for number, client in enumerate((one, two, one, two)):
            client.send(json.dumps({**frame, "key": f"k{number}."}))
            answers.append('"code":"rate"' in client.texts(f"k{number}.")[-1])

    assert answers == [False, False, False, True]
    one.close()
    two.close()
