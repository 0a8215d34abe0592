"""The JavaScript client on Node: the shared table, its own tests, its types."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
from typing import Any

import pytest
from switchboard_client import Connection, connect

from routing_app.core.codes import CLOSES
from tests.clients.cases import CASES
from tests.clients.test_python import url_of
from tests.services.databases import REPOSITORY
from tests.services.javascript import require_packages
from tests.services.server import Server

pytestmark = pytest.mark.once  # the client's own side, on one server

CLIENT = REPOSITORY / "clients" / "js"


def run(command: list[str], input: str = "", **env: str) -> str:
    """Run a program in the client's folder; its stdout."""
    require_packages("clients/js")
    result = subprocess.run(
        command, cwd=CLIENT, env=os.environ | env, input=input, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_shared_table(broker: Server) -> None:
    cases = [dataclasses.asdict(case) for case in CASES]
    table = json.dumps({"url": url_of(broker), "key": broker.api_key, "cases": cases})
    outcomes = json.loads(run(["node", "test/driver.js"], table))

    assert {case.name: outcome for case, outcome in zip(CASES, outcomes, strict=True)} == {
        case.name: case.expected for case in CASES
    }


def test_its_own_tests(one_worker: Server) -> None:
    codes = [
        {"code": code, "advice": close.advice}
        for close in CLOSES
        for code in (close.code, close.portable_code)
    ]
    output = run(
        ["node", "--test", "test/own.test.js"],
        URL=url_of(one_worker),
        KEY=one_worker.api_key,
        CODES=json.dumps(codes),
    )
    assert "# fail 0" in output
    assert "# pass 0" not in output


def test_its_types() -> None:
    run(["npm", "run", "types"])


async def test_the_two_clients_talk_to_each_other(two_workers: Server) -> None:
    """Through an address that both subscribe to, on any worker."""
    script = """
        import { connect } from "switchboard-client";
        const connection = await connect(process.env.URL, { key: process.env.KEY });
        connection.on("delivery", async ({ message }) => {
          if (message.from === "js") return;
          await connection.publish(["channel:both"], { from: "js", received: message });
          await connection.close();
        });
        await connection.subscribe("channel:both");
        console.log("ready");
    """
    require_packages("clients/js")
    env = os.environ | {"URL": url_of(two_workers), "KEY": two_workers.api_key}
    node = await asyncio.create_subprocess_exec(
        "node", "--input-type=module", "-e", script, cwd=CLIENT, env=env, stdout=subprocess.PIPE
    )
    assert node.stdout is not None
    received: asyncio.Queue[Any] = asyncio.Queue()
    async with await connect(url_of(two_workers), key=two_workers.api_key) as connection:
        await _listen(connection, received)
        assert await node.stdout.readline() == b"ready\n"
        await connection.publish(["channel:both"], {"from": "python"})
        assert await asyncio.wait_for(received.get(), 60) == {"from": "js", "received": {"from": "python"}}
    assert await node.wait() == 0


async def _listen(connection: Connection, received: asyncio.Queue[Any]) -> None:
    connection.on(
        "delivery",
        lambda delivery: received.put_nowait(delivery.message) if delivery.message["from"] == "js" else None,
    )
    await connection.subscribe("channel:both")
