"""`python -m tests.compliance.engineio --port 3000 --ping-interval 300 --ping-timeout 200`: serves `app`."""

from __future__ import annotations

import argparse
import os
import sys

SERVERS = {
    "serve": ["switchboard_server", "-b", "127.0.0.1", "-p"],
    "daphne": ["daphne", "-b", "127.0.0.1", "-p"],
    "uvicorn": ["uvicorn", "--host", "127.0.0.1", "--port"],
}
APPLICATION = "tests.compliance.engineio.app:application"


def main() -> None:
    """Become the server."""
    parser = argparse.ArgumentParser(prog="python -m tests.compliance.engineio")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--ping-interval", type=int, default=300, help="milliseconds")
    parser.add_argument("--ping-timeout", type=int, default=200, help="milliseconds")
    parser.add_argument("--connect-timeout", type=int, default=1000, help="milliseconds")
    parser.add_argument("--pace", type=int, default=5, help="milliseconds between frames of a WebSocket")
    parser.add_argument("--only-4", action="store_true", help="refuse clients before protocol 4")
    parser.add_argument("--server", choices=sorted(SERVERS), default="serve")
    known = parser.parse_args()
    times = known.ping_interval, known.ping_timeout, known.connect_timeout, known.pace
    os.environ["SWITCHBOARD_COMPLIANCE"] = ",".join(map(str, times))
    os.environ["SWITCHBOARD_COMPLIANCE_ONLY_4"] = "yes" if known.only_4 else "no"
    command = [sys.executable, "-m", *SERVERS[known.server], str(known.port), APPLICATION]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main()
