"""Envelopes from one worker to another through 1, 2 and 3 Redis servers, and what each of them pays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final

from bench.bench import Bench, Usage
from bench.machine import LOAD_CORE, SERVER_CORE, on_core
from bench.section import Column, Reading, Row, Section, Unavailable
from tests.services.databases import REPOSITORY
from tests.services.redis import Redis, find_redis

SERVERS: Final = (1, 2, 3)


class Probe:
    """A process of `envelope_probe`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid
        self._answer()

    def ask(self, line: str) -> dict[str, float]:
        """Send a line, and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def _probe(bench: Bench, role: str, env: dict[str, str]) -> Iterator[Probe]:
    command = [sys.executable, "-m", "bench.envelope_probe", role]
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    env = os.environ | env | {"VAR_DIR": str(bench.new_folder())}
    with on_core(LOAD_CORE):
        process = subprocess.Popen(command, cwd=REPOSITORY, env=env, **options)
    try:
        yield Probe(process)
    finally:
        process.kill()
        process.communicate()


def _envelopes(servers: int, bench: Bench) -> Reading:
    if find_redis() is None:
        raise Unavailable("redis-server is not installed")
    with ExitStack() as stack:
        with on_core(SERVER_CORE):
            redis = [stack.enter_context(Redis(bench.new_folder())) for _ in range(servers)]
        env = {
            "DJANGO_SETTINGS_MODULE": "broker_project.settings",
            "REDIS_URL": ",".join(one.url for one in redis),
        }
        receiver = stack.enter_context(_probe(bench, "receive", env))
        sender = stack.enter_context(_probe(bench, "send", env))
        receiver.ask("expect 1")
        receiver.ask(f"expect {sender.ask('send 0.3')['number']:.0f}")
        pids = {SERVER_CORE: [one.process.pid for one in redis], LOAD_CORE: [sender.pid, receiver.pid]}
        before = {core: Usage.now(some, core) for core, some in pids.items()}
        sent = sender.ask(f"send {2 * bench.seconds}")
        came = receiver.ask(f"expect {sent['number']:.0f}")
        used = {core: Usage.now(some, core) - before[core] for core, some in pids.items()}
    bench.disturbance = max(bench.disturbance, *(one.disturbed / sent["seconds"] for one in used.values()))
    if came["number"] != sent["number"]:
        return {"rate": f"INCOMPLETE: {came['number']:,.0f} of {sent['number']:,.0f}"}
    redis_us = used[SERVER_CORE].used * 1e6 / sent["number"]
    return {
        "rate": sent["number"] / sent["seconds"],
        "sender_us": sent["cpu"] * 1e6 / sent["number"],
        "receiver_us": came["cpu"] * 1e6 / sent["number"],
        "redis_us": redis_us,
        "room": servers * 1e6 / redis_us,
    }


SECTION = Section(
    name="envelopes",
    title="Envelopes of one message from a worker to another",
    columns=(
        Column("rate", "envelopes/s"),
        Column("sender_us", "CPU µs each of the sender", 1),
        Column("receiver_us", "of the receiver", 1),
        Column("redis_us", "of Redis", 1),
        Column("room", "calculated: envelopes/s of Redis, a core for each server"),
    ),
    rows=tuple(
        Row(f"{count} Redis server{'s' if count > 1 else ''}", partial(_envelopes, count))
        for count in SERVERS
    ),
    note="Sender and receiver share a core, all Redis servers the other one.",
    order=31,
)
