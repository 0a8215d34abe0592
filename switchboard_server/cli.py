"""The command line `python -m switchboard_server`: Daphne's, with a few more options."""

from __future__ import annotations

import argparse
import logging
import os
import resource
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from daphne.cli import CommandLineInterface

from switchboard_server.proxy import Proxies
from switchboard_server.server import Server, ServerOptions
from switchboard_server.tls import context_factory


class CommandLine(CommandLineInterface):
    """Takes every option of Daphne's; `run` serves until a signal stops the process."""

    description = "Switchboard's HTTP and WebSocket server"

    def __init__(self, ready: Callable[[], object] | None = None) -> None:
        super().__init__()
        self._ready = ready
        group = self.parser.add_argument_group("beyond Daphne")
        group.add_argument(
            "--drain-seconds",
            type=float,
            default=10.0,
            help="Longest wait for handlers when the server stops",
        )
        group.add_argument(
            "--trusted-proxies", default="", help="Addresses whose X-Forwarded-* headers are read"
        )
        group.add_argument("--cert", default="", help="Certificate chain (PEM): speak TLS")
        group.add_argument("--key", default="", help="Its private key (PEM)")
        group.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
        group.add_argument("--parent-fd", type=int, default=-1, help=argparse.SUPPRESS)

    def run(self, args: Sequence[str]) -> None:
        """Serve as `args` say."""
        known = self.parser.parse_args(args)
        try:
            options = server_options(known, self._ready)
        except (ValueError, OSError) as error:
            self.parser.error(str(error))
        if known.proxy_headers and not known.trusted_proxies:
            self.parser.error("--proxy-headers needs --trusted-proxies: only headers from these are read")
        self.server_class: Any = partial(Server, options=options)
        _raise_open_files()
        if not known.verbosity:
            logging.getLogger("daphne").setLevel(logging.WARNING)
        super().run(args)


def _raise_open_files() -> None:
    """Raise the soft limit to the hard one: every socket is an open file, and the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _write_byte(descriptor: int) -> None:
    if descriptor >= 0:
        os.write(descriptor, b"1")
        os.close(descriptor)


def server_options(known: argparse.Namespace, ready: Callable[[], object] | None = None) -> ServerOptions:
    """The options beyond Daphne's. Raises ValueError or OSError for a value that cannot be used."""
    tls = None
    if known.cert or known.key:
        tls = context_factory(known.cert, known.key or known.cert)
    return ServerOptions(
        drain_seconds=known.drain_seconds,
        proxies=Proxies(word.strip() for word in known.trusted_proxies.split(",") if word.strip()),
        tls=tls,
        ready=ready or partial(_write_byte, known.ready_fd),
        parent_fd=known.parent_fd,
    )
