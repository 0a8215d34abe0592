"""A throwaway Redis master with a replica, watched by three sentinels."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import redis

from tests.services.ports import LOOPBACK, answers, free_port
from tests.services.process import Process
from tests.services.redis import Redis, find_redis

SENTINELS: Final = 3
NAME: Final = "broker"


def sentinel_url(ports: Iterable[int]) -> str:
    """REDIS_URL of the master that the sentinels on some ports name."""
    hosts = ";".join(f"{LOOPBACK}:{port}" for port in ports)
    return f"sentinel://{hosts}/{NAME}/0"


class SentinelSet:
    """Five processes; a context manager. A master that ends is replaced by the replica within seconds."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._exit = ExitStack()
        self.master = Redis(directory)
        self.replica = Redis(directory)
        self.ports = [free_port() for _ in range(SENTINELS)]
        self.url = sentinel_url(self.ports)

    def named_master(self) -> int:
        """The port of the master, by the first sentinel."""
        with redis.Redis(LOOPBACK, self.ports[0], decode_responses=True) as client:
            return int(client.sentinel_get_master_addr_by_name(NAME)[1])

    def has_all(self) -> bool:
        """True once each sentinel knows the replica and the other sentinels."""
        return all(self._knows_all(port) for port in self.ports)

    def _knows_all(self, port: int) -> bool:
        with redis.Redis(LOOPBACK, port, decode_responses=True) as client:
            state = client.sentinel_master(NAME)
            return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == SENTINELS - 1)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.master)
            stack.enter_context(self.replica)
            with redis.Redis(LOOPBACK, self.replica.port) as client:
                client.replicaof(LOOPBACK, self.master.port)
            for port in self.ports:
                self._start_sentinel(stack, port)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def _start_sentinel(self, stack: ExitStack, port: int) -> None:
        binary = find_redis()
        assert binary is not None
        folder = self._directory / f"sentinel-{port}"
        folder.mkdir()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind {LOOPBACK}\ndir {folder}\n"
            f"sentinel monitor {NAME} {LOOPBACK} {self.master.port} 2\n"
            f"sentinel down-after-milliseconds {NAME} 1000\n"
            f"sentinel failover-timeout {NAME} 10000\n"
        )
        command: list[str | Path] = [binary, config, "--sentinel"]
        process = Process(command, log=folder / "log")
        stack.callback(process.stop)
        process.wait_until(lambda: answers(port))
