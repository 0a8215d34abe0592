"""Free TCP ports on loopback."""

from __future__ import annotations

import random
import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"

# Below 32768, where Linux starts to give out ports to outgoing connections: a port that is free now is not
# taken by a client of another test before its server has started.
_RANGE: Final = range(16_000, 32_000)
_random = random.SystemRandom()


def free_port() -> int:
    """A port that nothing listens on; random, so that runs side by side seldom choose the same one."""
    for _ in range(100):
        port = _random.choice(_RANGE)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        return port
    raise OSError(f"no free port from {_RANGE.start} to {_RANGE.stop - 1}")


def answers(port: int) -> bool:
    """Whether something accepts connections on the port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
