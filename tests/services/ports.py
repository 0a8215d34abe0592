"""Free TCP ports on loopback."""

from __future__ import annotations

import os
import random
import re
import socket
from itertools import count
from typing import Final

LOOPBACK: Final = "127.0.0.1"

# Below 32768, where Linux starts to give out ports to outgoing connections: a port that is free now is not
# taken by a client of another test before its server has started.
_FIRST: Final = 16_000
_SHARE: Final = 1_000
"""Ports of one process of a run. Two that shared them could start servers on the same port at a time, and one
would then ask the other's."""
_turns = count(random.SystemRandom().randrange(_SHARE))


def free_port() -> int:
    """A port of this process's share that nothing listens on; the one that was given out longest ago."""
    first = _FIRST + _SHARE * _slot()
    for _ in range(_SHARE):
        port = first + next(_turns) % _SHARE
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        return port
    raise OSError(f"no free port from {first} to {first + _SHARE - 1}")


def _slot() -> int:
    """The number of this process: up to eight in each pass, by the names that pytest-xdist gives."""
    number = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", "gw0"))
    assert number is not None
    return int(number[1]) % 8 + (8 if os.environ.get("REDIS_URLS") else 0)


def answers(port: int) -> bool:
    """True when something accepts connections on the port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
