"""`python -m tests.server.supervise PORT COUNT`: workers of the tests' application under our supervisor."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from broker_project.serving.preflight import listen
from switchboard_server.supervisor import StartFailed, Supervisor
from tests.services.ports import LOOPBACK

DRAIN_SECONDS = 60.0
"""Of each worker."""


def main(port: int, count: int, application: str) -> int:
    logging.basicConfig(level=logging.INFO)
    listening = listen(LOOPBACK, port)

    def command(ready: int, parent: int) -> list[str]:
        server = [sys.executable, "-m", "switchboard_server", "-v0", "--drain-seconds", str(DRAIN_SECONDS)]
        sockets = ["--fd", str(listening.fileno()), "--ready-fd", str(ready), "--parent-fd", str(parent)]
        return [*server, *sockets, application]

    supervisor = Supervisor(command, count, [listening.fileno()], os.environ, DRAIN_SECONDS)
    try:
        return asyncio.run(supervisor.run(lambda: sys.stdout.write("ready\n") and sys.stdout.flush()))
    except StartFailed:
        return 3


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
