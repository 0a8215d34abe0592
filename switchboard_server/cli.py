"""The command line: `python -m switchboard_server`. It has every option of Daphne's, and a few more."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import resource
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from switchboard_server.access_log import AccessLog
from switchboard_server.ending import end_without_threads
from switchboard_server.endpoints import descriptions
from switchboard_server.proxy import Proxies
from switchboard_server.server import Server, ServerOptions
from switchboard_server.tls import server_context
from switchboard_server.websocket import SocketLimits

logger = logging.getLogger("switchboard.server")

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8000
LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG, logging.DEBUG)
MEGABYTE: Final = 1024 * 1024

_INTEGERS: Final = (
    (("--websocket_timeout",), 86400, "Seconds until a WebSocket is closed; -1 for never"),
    (("--websocket_connect_timeout",), 5, "Seconds until a handshake is answered; -1 for no limit"),
    (("-v", "--verbosity"), 1, "From 0, warnings alone, to 3, asyncio's debug mode"),
    (("-t", "--http-timeout"), None, "Seconds until a request is answered"),
    (("--ping-interval",), 20, "Seconds of silence until a WebSocket is pinged"),
    (("--ping-timeout",), 30, "Seconds until a WebSocket that answers no ping is dropped"),
    (("--websocket-max-message-size",), MEGABYTE, "Bytes of a WebSocket message; 0 for no limit"),
    (("--websocket-max-frame-size",), MEGABYTE, "Bytes of a WebSocket frame; 0 for no limit"),
    (("--application-close-timeout",), 10, "Seconds that an application has after its client has gone"),
)
"""Options with a number: names, default, help."""


class CommandLine:
    """Takes every option of Daphne's; `run` serves until the process is told to stop."""

    def __init__(self, ready: Callable[[], object] | None = None) -> None:
        self._ready = ready
        self.parser = argparse.ArgumentParser(description="Switchboard's HTTP and WebSocket server")
        _add_places(self.parser)
        for names, default, text in _INTEGERS:
            self.parser.add_argument(*names, type=int, default=default, help=text)
        _add_words(self.parser)
        _add_ours(self.parser.add_argument_group("beyond Daphne"))

    @classmethod
    def entrypoint(cls) -> None:
        """Run with the arguments of the process."""
        cls().run(sys.argv[1:])

    def run(self, args: Sequence[str]) -> None:
        """Serve as `args` say."""
        known = self.parser.parse_args(args)
        logging.basicConfig(level=LEVELS[known.verbosity], format=known.log_fmt)
        try:
            options = server_options(known, self._ready)
        except (ValueError, OSError) as error:
            self.parser.error(str(error))
        _raise_open_files()
        if not known.verbosity:
            logger.setLevel(logging.WARNING)
        sys.path.insert(0, ".")
        application = load(known.application)
        logger.info("Starting server at %s", ", ".join(options.endpoints))
        try:
            Server(application, options).run()
        except (ValueError, OSError) as error:
            logger.critical("Listen failure: %s", error)
            sys.exit(1)
        end_without_threads()


def load(path: str) -> Any:
    """The application at `module:name`, where the name may have dots. Raises ImportError, AttributeError."""
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def server_options(known: argparse.Namespace, ready: Callable[[], object] | None = None) -> ServerOptions:
    """The options of the server. Raises ValueError or OSError for what cannot be used."""
    if known.proxy_headers and not known.trusted_proxies:
        raise ValueError("--proxy-headers needs --trusted-proxies: only headers from these are read")
    if (known.proxy_headers_host or known.proxy_headers_port) and not known.proxy_headers:
        raise ValueError("--proxy-headers-host and --proxy-headers-port need --proxy-headers")
    port_header = known.proxy_headers_port or ("X-Forwarded-Port" if known.proxy_headers else "")
    return ServerOptions(
        endpoints=_endpoints(known),
        limits=SocketLimits(
            connect_timeout=known.websocket_connect_timeout,
            lifetime=known.websocket_timeout,
            ping_interval=known.ping_interval,
            ping_timeout=known.ping_timeout,
            max_frame=known.websocket_max_frame_size,
            max_message=known.websocket_max_message_size,
        ),
        http_timeout=known.http_timeout or 0.0,
        application_close_timeout=known.application_close_timeout,
        root_path=known.root_path,
        server_name=known.server_name,
        access_log=_access_log(known),
        proxies=Proxies(word.strip() for word in known.trusted_proxies.split(",") if word.strip()),
        address_header=known.proxy_headers_host or "X-Forwarded-For",
        port_header=port_header,
        drain_seconds=known.drain_seconds,
        compression=known.compression,
        tls=server_context(known.cert, known.key or known.cert) if known.cert or known.key else None,
        ready=ready or partial(_write_byte, known.ready_fd),
        parent_fd=known.parent_fd,
        debug=known.verbosity >= 3,
    )


def _endpoints(known: argparse.Namespace) -> list[str]:
    host, port = known.host, known.port
    elsewhere = known.unix_socket or known.file_descriptor is not None or known.socket_strings
    if host or port is not None or not elsewhere:
        host, port = host or DEFAULT_HOST, DEFAULT_PORT if port is None else port
    named = descriptions(host, port, known.unix_socket, known.file_descriptor)
    return sorted([*known.socket_strings, *named])


def _access_log(known: argparse.Namespace) -> AccessLog | None:
    if known.access_log and known.access_log != "-":
        return AccessLog(Path(known.access_log).open("a", 1))
    return AccessLog(sys.stdout) if known.access_log or known.verbosity >= 1 else None


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application", help="The application as module:name")
    parser.add_argument("-p", "--port", type=int, help="Port to listen at")
    parser.add_argument("-b", "--bind", dest="host", help="Address to listen at")
    parser.add_argument("-u", "--unix-socket", help="Unix socket to listen at")
    parser.add_argument("--fd", type=int, dest="file_descriptor", help="Descriptor of a socket that is bound")
    parser.add_argument(
        "-e",
        "--endpoint",
        dest="socket_strings",
        action="append",
        default=[],
        help="tcp:PORT:interface=ADDRESS, ssl:PORT:privateKey=FILE:certKey=FILE, unix:PATH or fd:fileno=N",
    )


def _add_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--access-log", help="File of the access log, - for stdout")
    parser.add_argument(
        "--log-fmt", default="%(asctime)-15s %(levelname)-8s %(message)s", help="Format of the log"
    )
    parser.add_argument("--root-path", default="", help="ASGI's root_path")
    parser.add_argument(
        "--proxy-headers", action="store_true", default=False, help="Read X-Forwarded-Port, too"
    )
    parser.add_argument("--proxy-headers-host", default=False, help="Header with the client's address")
    parser.add_argument("--proxy-headers-port", default=False, help="Header with the client's port")
    parser.add_argument("-s", "--server-name", default="daphne", help="Server header of responses")
    parser.add_argument("--no-server-name", dest="server_name", action="store_const", const="")


def _add_ours(group: Any) -> None:
    group.add_argument(
        "--drain-seconds", type=float, default=10.0, help="Longest wait for handlers when the server stops"
    )
    group.add_argument("--trusted-proxies", default="", help="Addresses whose X-Forwarded-* headers are read")
    group.add_argument(
        "--compression", action="store_true", help="Compress messages for clients that offer it (RFC 7692)"
    )
    group.add_argument("--cert", default="", help="Certificate chain (PEM): speak TLS")
    group.add_argument("--key", default="", help="Its private key (PEM)")
    group.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    group.add_argument("--parent-fd", type=int, default=-1, help=argparse.SUPPRESS)


def _raise_open_files() -> None:
    """Every socket is an open file, and the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _write_byte(descriptor: int) -> None:
    if descriptor >= 0:
        os.write(descriptor, b"1")
        os.close(descriptor)
