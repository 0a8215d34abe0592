"""Both clients, and the command line, with history that a server keeps."""

from __future__ import annotations

import asyncio
import json
import queue
import secrets
from collections.abc import AsyncIterator

import pytest
from switchboard_client import Delivery, connect_sync

from tests.clients.puppets import SECONDS, Puppet, node_puppet, python_puppet
from tests.clients.test_command import listening, switchboard
from tests.clients.test_python import url_of
from tests.requests.peer import call
from tests.services.server import Server


@pytest.fixture
def address() -> str:
    return f"channel:kept/{secrets.token_hex(4)}"


@pytest.fixture(params=["python", "javascript"])
async def client(request: pytest.FixtureRequest, kept: Server) -> AsyncIterator[Puppet]:
    async with python_puppet() if request.param == "python" else node_puppet(at_once=False) as client:
        await client.do("connect", url=url_of(kept), key=kept.api_key)
        yield client


async def test_what_is_published_once_is_kept_and_comes_to_a_subscriber_that_asks_for_the_last(
    client: Puppet, address: str
) -> None:
    id = secrets.token_hex(4)
    first = await asyncio.wait_for(client.publish(address, "one", id=id), SECONDS)
    again = await asyncio.wait_for(client.publish(address, "another", id=id), SECONDS)
    assert first["positions"][address]["offset"] == 1
    assert again == {**first, "repeated": True}
    messages = [
        {"addresses": [address], "message": "two"},
        {"addresses": ["nonsense"], "message": "bad"},
        {"addresses": [address], "message": "once", "id": id},
        {"addresses": [address], "message": "three"},
    ]
    results = (await client.do("publish_batch", messages=messages))["results"]
    assert ["error" in one for one in results] == [False, True, False, False]
    assert results[2]["repeated"] is True

    history = await client.do("history", address=address, options={})
    assert [one["message"] for one in history["messages"]] == ["one", "two", "three"]
    since = {"epoch": history["epoch"], "offset": 2}
    history = await client.do("history", address=address, options={"since": since})
    assert (history["recovered"], [one["offset"] for one in history["messages"]]) == (True, [3])
    history = await client.do("history", address=address, options={"reverse": True, "limit": 1})
    assert [one["offset"] for one in history["messages"]] == [3]
    assert await client.do("history", address="connection:of-nobody", options={}) == {"error": "not_found"}

    await asyncio.wait_for(client.subscribe(address, last=2), SECONDS)
    assert await client.next(2) == [["delivery", address, "two", 2], ["delivery", address, "three", 3]]


async def test_the_command_line_listens_from_what_is_kept_on(kept: Server, address: str) -> None:
    def play() -> list[str]:
        for message in ("one", "two", "three"):
            sent = switchboard(kept, "send", address, message, "--id", f"{message} {address}")
            assert "repeated" not in json.loads(sent.stdout)
        repeated = switchboard(kept, "send", address, "again", "--id", f"three {address}").stdout
        assert json.loads(repeated)["repeated"] is True
        with listening(kept, "--recover", "--last", "2", "--count", "3", address) as listener:
            sent = switchboard(kept, "send", address, "four")
            assert sent.returncode == 0, sent.stderr
            output, _ = listener.communicate(timeout=SECONDS)
        return [json.loads(line)["message"] for line in output.splitlines()]

    assert await asyncio.to_thread(play) == ["two", "three", "four"]


async def test_notices_tell_who_comes_and_goes(client: Puppet, kept: Server, address: str) -> None:
    rule = {"pattern": address, "history_size": 1, "notices": True}
    assert (await asyncio.to_thread(call, kept, "/api/rules/", rule))[0] == 201
    async with asyncio.timeout(SECONDS):
        while await client.subscribe(address, notices=True) == {"error": "forbidden"}:
            await asyncio.sleep(0.05)  # the rule has not reached every worker yet
    async with python_puppet() as other:
        await other.do("connect", url=url_of(kept), key=kept.api_key)
        await asyncio.wait_for(other.subscribe(address), SECONDS)
        [[kind, joined]] = await client.next()
    [[_, left]] = await client.next()
    assert (kind, joined["address"], joined["count"], joined["left"]) == ("presence", address, 2, [])
    assert [one["protocol"] for one in joined["joined"]] == ["requests"]
    assert (left["count"], left["joined"], left["left"]) == (1, [], joined["joined"])


def test_the_facade_for_synchronous_code(kept: Server, address: str) -> None:
    received: queue.Queue[Delivery] = queue.Queue()
    with connect_sync(url_of(kept), key=kept.api_key) as connection:
        connection.on("delivery", received.put)
        position = connection.publish([address], "one", id=secrets.token_hex(4), timeout=SECONDS)["positions"]
        connection.publish_batch([{"addresses": [address], "message": "two"}], timeout=SECONDS)
        history = connection.history(address, since=position[address])
        assert [one["message"] for one in history["messages"]] == ["two"]
        connection.subscribe(address, recover=True, last=1)
        delivery = received.get(timeout=SECONDS)
    assert (delivery.message, delivery.offset, delivery.epoch) == ("two", 2, history["epoch"])
    assert delivery.positions == {address: {"epoch": history["epoch"], "offset": 2}}
