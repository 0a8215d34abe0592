"""Traces over the console's socket: who may, what is followed, what is dropped, and how a trace ends."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from typing import Any, Final
from urllib.request import Request, urlopen

import pytest

from routing_app.core.frame_trace.recording import RATE
from tests.frame_trace.clients import Client, Console, TraceRefused
from tests.frame_trace.conftest import Open, Pair
from tests.requests.peer import call
from tests.services.server import Server
from tests.services.waiting import until_equal

pytestmark = pytest.mark.once  # its processes share a Redis on both stacks

SECRET: Final = "never in a log"
TRACED: Final = re.compile(r"^switchboard_traced_connections(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
NAMED: Final = pytest.mark.parametrize("kind", ["connection", "identity", "address"])


def get(server: Server, path: str) -> str:
    """A page, read with the server's key."""
    request = Request(server.url + path, headers={"X-API-Key": server.api_key})
    with urlopen(request, timeout=60) as response:
        text: str = response.read().decode()
    return text


def followed(server: Server) -> float:
    """Connections of a server whose frames are noted now."""
    found = re.search(
        r"^switchboard_traced_connections(?:\{[^}]*\})? (\S+)$", get(server, "/metrics"), re.MULTILINE
    )
    assert found is not None
    return float(found[1])


async def until_followed(server: Server, count: int) -> None:
    """Wait until so many connections are followed."""

    async def now() -> float:
        return await asyncio.to_thread(followed, server)

    await until_equal(float(count), now)


async def id_of(console: Console, client: Client, identity: str) -> str:
    """The id of a connection that is known by its identity."""
    trace = await console.trace(identity=identity)
    await trace.until_followed(1)
    await client.send("Echo:1")
    await client.receive()
    [row, _] = await trace.until(2)
    return str(row["connection"])


async def publish(server: Server, name: str, message: Any) -> None:
    """To the token `name`."""
    body = {"addresses": [f"token:{name}"], "message": message}
    assert (await asyncio.to_thread(call, server, "/api/publish", body))[0] == 200


@NAMED
async def test_one_client_is_followed_by_any_of_its_names(
    pair: Pair, page: Open, stack: AsyncExitStack, name: str, kind: str
) -> None:
    here, there = pair
    client = await Client.open(stack, there, f"/ws?RegisterToken={name}")
    await client.send("Echo:before")
    await client.receive()
    other = await Client.open(stack, there, f"/ws?RegisterToken={name}-other")
    console = await page()
    names = {
        "connection": await id_of(console, client, name),
        "identity": name,
        "address": f"token:{name}",
    }

    trace = await console.trace(**{kind: names[kind]}, bodies=True)
    await trace.until_followed(1)
    await client.send("Echo:after")
    await other.send("Echo:other")
    await publish(here, name, "published")
    await client.receive(2)
    await other.receive()
    assert await trace.frames(3) == [
        ("in", 10, "Echo:after"),
        ("out", 5, "after"),
        ("out", 9, "published"),
    ]


async def test_a_client_that_takes_the_name_later_is_followed_from_then_on(
    pair: Pair, page: Open, stack: AsyncExitStack, name: str
) -> None:
    trace = await (await page()).trace(identity=name, bodies=True)
    await trace.until_everywhere(*pair, path=f"/ws?RegisterToken={name}")
    client = await Client.open(stack, pair[1], f"/ws?RegisterToken={name}-before")
    await client.send("Echo:before", f"RegisterToken:{name}", "Echo:after")
    await client.receive(2)
    late = await Client.open(stack, pair[0], f"/ws?RegisterToken={name}")
    await late.send("Echo:late")
    await late.receive()
    bodies = [row["body"] for row in await trace.until(4)]
    assert sorted(bodies) == ["Echo:after", "Echo:late", "after", "late"]


async def test_a_close_of_the_server_is_shown_and_the_answer_to_it(
    pair: Pair, page: Open, stack: AsyncExitStack, name: str
) -> None:
    client = await Client.open(stack, pair[1], f"/ws?RegisterToken={name}")
    trace = await (await page()).trace(identity=name, bodies=True)
    await trace.until_followed(1)
    body = {"addresses": [f"token:{name}"], "code": 4321, "reason": "by hand"}
    assert (await asyncio.to_thread(call, pair[0], "/api/disconnect", body))[0] == 200
    assert await client.closed() == 4321
    assert await trace.frames(2) == [("in", 9, 4321), ("out", 9, 4321)]


async def test_a_flood_is_shown_in_part_and_counted_whole(
    pair: Pair, page: Open, stack: AsyncExitStack, name: str
) -> None:
    client = await Client.open(stack, pair[1], f"/ws?RegisterToken={name}")
    trace = await (await page()).trace(identity=name)
    await trace.until_followed(1)
    for start in range(0, 1500, 50):
        await client.send(*(f"Echo:{number}" for number in range(start, start + 50)))
        await client.receive(50)
    rows = await trace.until(3000)
    times = sorted(row["at"] for row in rows)
    assert RATE <= len(rows) < 3000
    assert len(rows) + trace.dropped == 3000
    # A tenth of a second: the rate is kept by another clock than that of `at`.
    assert all(later - first > 0.9 for first, later in zip(times, times[RATE:], strict=False))


async def test_without_the_permissions_nothing_is_shown(page: Open, name: str) -> None:
    with pytest.raises(TraceRefused, match="403"):
        await (await page("staff")).trace(identity=name)
    with pytest.raises(TraceRefused, match="403"):
        await (await page("masked")).trace(identity=name, bodies=True)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"identity": "a", "network": "127.0.0.1"},
        {"network": "nowhere"},
        {"identity": ""},
        {"address": "nothing"},
        {"identity": "a", "seconds": 601},
        {"identity": "a", "seconds": 0},
        {"identity": "a", "bodies": "yes"},
    ],
    ids=str,
)
async def test_a_trace_of_nothing_is_refused(page: Open, params: dict[str, Any]) -> None:
    with pytest.raises(TraceRefused, match="400"):
        await (await page("masked")).trace(**params)


async def test_bodies_are_left_out_and_no_log_has_any(
    pair: Pair, page: Open, stack: AsyncExitStack, name: str
) -> None:
    client = await Client.open(stack, pair[1], f"/ws?RegisterToken={name}")
    masked = await (await page("masked")).trace(identity=name)
    whole = await (await page("bodies")).trace(identity=name, bodies=True)
    for trace in (masked, whole):
        await trace.until_followed(1)
    await client.send(f"Echo:{SECRET}")
    await client.receive()
    assert [set(row) for row in await masked.until(2)] == [
        {"at", "direction", "connection", "protocol", "size"}
    ] * 2
    assert [row["body"] for row in await whole.until(2)] == [f"Echo:{SECRET}", SECRET]
    assert [SECRET in server.log_text() for server in pair] == [False, False]


async def test_every_trace_is_in_the_audit_log(
    pair: Pair, page: Open, stack: AsyncExitStack, name: str
) -> None:
    client = await Client.open(stack, pair[1], f"/ws?RegisterToken={name}")
    trace = await (await page("masked")).trace(identity=name)
    await trace.until_followed(1)
    await client.send("Echo:1")
    await client.receive()
    await trace.until(2)
    await trace.stop()
    masked = f"identity {name[:2]}… ({len(name)})"

    def entries() -> list[tuple[str, str, str, str]]:
        rows = json.loads(get(pair[0], "/api/audit?actor=masked"))["results"]
        return [(row["action"], row["target"], row["outcome"], row["network"]) for row in rows[:2]]

    async def last() -> list[tuple[str, str, str, str]]:
        return await asyncio.to_thread(entries)

    await until_equal(
        [
            ("trace_end", f"{masked}, 2 frames shown, 0 not", "ok", "127.0.0.1"),
            ("trace", f"{masked}, without bodies", "ok", "127.0.0.1"),
        ],
        last,
    )


@pytest.mark.parametrize("end", ["stop", "close", "time"])
async def test_no_connection_is_followed_once_a_trace_has_ended(
    pair: Pair, page: Open, stack: AsyncExitStack, name: str, end: str
) -> None:
    clients = [await Client.open(stack, server, f"/ws?RegisterToken={name}") for server in pair]
    console = await page()
    trace = await console.trace(identity=name, seconds=20 if end == "time" else 600)
    for server in pair:
        await until_followed(server, 1)
    if end == "stop":
        await trace.stop()
    elif end == "close":
        await console.socket.close()
    for client, server in zip(clients, pair, strict=True):
        await until_followed(server, 0)
        await client.send("Echo:1")
        assert await client.receive() == "1"
