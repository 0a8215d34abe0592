"""`manage.py serve`: check, migrate, prepare the first run, and serve until a signal."""

from __future__ import annotations

import os
import socket
import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from broker_project.serving import preflight
from broker_project.serving.launch import OWN_SITE, Plan, serve
from broker_project.serving.preflight import StartProblem

LOCAL = {"0.0.0.0": "localhost", "::": "localhost"}  # noqa: S104 - a name to show, not to bind


class Command(BaseCommand):
    """Starts the server. It takes every option of `python -m switchboard_server --help`, too."""

    help = __doc__
    requires_system_checks: tuple[str, ...] = ()  # checked in one line each, by preflight

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Django's parser, which keeps unknown options for the server."""
        parser = super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)
        parser.parse_args = partial(_parse_known, parser)  # type: ignore[method-assign, assignment]
        parser.set_defaults(verbosity=0)
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options that are ours."""
        parser.add_argument(
            "-b", "--host", "--bind", default=settings.HOST, help=f"address ({settings.HOST})"
        )
        parser.add_argument("-p", "--port", type=int, default=settings.PORT, help=f"port ({settings.PORT})")
        parser.add_argument("--workers", type=int, default=settings.WORKERS, help="worker processes")
        parser.add_argument(
            "--https", action="store_true", default=settings.HTTPS, help="TLS; without --cert self-signed"
        )
        parser.add_argument(
            "--cert", default=settings.TLS_CERT, help="certificate chain in PEM form; means --https"
        )
        parser.add_argument("--key", default=settings.TLS_KEY, help="its private key in PEM form")
        parser.add_argument("--config", help="a websockets.conf of the original token broker")
        parser.add_argument(
            "--no-migrate", action="store_true", help="leave the database's tables as they are"
        )
        parser.add_argument("--verbose", action="store_true", help="log every request and socket")

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve; an obstacle is one line on stderr and exit code 1."""
        try:
            if options["config"]:
                _restart_with(options["config"])
            plan = self._prepare(options)
            code = serve(plan)
        except StartProblem as problem:
            sys.exit(f"switchboard: {problem}")
        sys.exit(code)

    def _prepare(self, options: dict[str, Any]) -> Plan:
        preflight.check_settings(options["workers"])
        preflight.check_database()
        preflight.check_redis()
        cert, key = _certificate(options)
        listening = _listening(options)
        for line in preflight.prepare_database(not options["no_migrate"], _first_run):
            self._say(line)
        return Plan(
            arguments=_server_arguments(options, cert, key),
            listening=listening,
            workers=options["workers"],
            announce=partial(self._say, _welcome(options, bool(cert), listening is not None)),
        )

    def _say(self, line: str) -> None:
        """Write at once: the first run's key is printed here, and stdout may be a file or a pipe."""
        self.stdout.write(line)
        self.stdout.flush()


def _parse_known(parser: CommandParser, args: Any = None, namespace: Any = None) -> Namespace:
    known, rest = parser.parse_known_args(args, namespace)
    known.server_options = rest
    return cast(Namespace, known)


def _first_run() -> list[str]:
    """Make what the server's own site needs; another project makes its users and keys by itself."""
    from routing_app.core.access.firstrun import prepare
    from sessions_app.firstrun import prepare as prepare_sessions

    return [*prepare(), *prepare_sessions()] if settings.ASGI_APPLICATION == OWN_SITE else []


def _restart_with(config: str) -> None:
    """Start this command again with the settings of a file; values of the environment win.

    An empty variable counts as not set, as everywhere.
    """
    from routing_app.tokens.conf import ConfigError, load

    try:
        found = load(Path(config))
    except (ConfigError, OSError) as error:
        raise StartProblem(f"--config {error}") from None
    arguments = [sys.executable, *sys.orig_argv[1:]]
    place = next(at for at, word in enumerate(arguments) if word.partition("=")[0] == "--config")
    del arguments[place : place + (1 if "=" in arguments[place] else 2)]
    said = {name: value for name, value in os.environ.items() if value}
    os.execve(sys.executable, arguments, {**found, **said})  # noqa: S606 - ourselves


def _listening(options: dict[str, Any]) -> socket.socket | None:
    """The socket to serve on; None when the server's own options say where to listen."""
    elsewhere = {"-u", "--unix-socket", "--fd", "-e", "--endpoint"}
    if elsewhere.intersection(word.partition("=")[0] for word in options["server_options"]):
        return None
    return preflight.listen(options["host"], options["port"])


def _certificate(options: dict[str, Any]) -> tuple[str, str]:
    """(certificate, key) to speak TLS with; empty for plain HTTP. Raises StartProblem."""
    from switchboard_server.tls import self_signed, server_context

    cert, key = options["cert"], options["key"] or options["cert"]
    if not (cert or options["https"]):
        return "", ""
    try:
        if not cert:
            names = ["localhost", "127.0.0.1", LOCAL.get(options["host"], options["host"])]
            cert, key = map(str, self_signed(Path(settings.VAR_DIR) / "tls", sorted(set(names))))
        server_context(cert, key)
    except (OSError, ValueError) as error:
        raise StartProblem(f"TLS_CERT, TLS_KEY: {error}") from None
    return cert, key


def _server_arguments(options: dict[str, Any], cert: str, key: str) -> list[str]:
    """The server's command line; the user's own words come last and win."""
    size = str(settings.MAX_FRAME_BYTES)
    words = ["--verbosity", str(max(options["verbosity"], int(options["verbose"])))]
    words += ["--websocket-max-message-size", size, "--websocket-max-frame-size", size]
    words += ["--websocket_timeout", "-1", "--server-name", "switchboard"]
    words += ["--ping-interval", str(settings.PING_INTERVAL), "--ping-timeout", str(settings.PING_TIMEOUT)]
    words += ["--drain-seconds", f"{settings.DRAIN_SECONDS:g}"]
    words += ["--trusted-proxies", ",".join(settings.TRUSTED_PROXIES)]
    if settings.COMPRESSION:
        words.append("--compression")
    if cert:
        words += ["--cert", cert, "--key", key]
    return [*words, *options["server_options"]]


def _welcome(options: dict[str, Any], secure: bool, known: bool) -> str:
    if not known:
        return f"Switchboard listens at {' '.join(options['server_options'])}"
    host = LOCAL.get(options["host"], options["host"])
    host = f"[{host}]" if ":" in host else host
    base = f"{'https' if secure else 'http'}://{host}:{options['port']}"
    workers = f", {options['workers']} workers" if options["workers"] > 1 else ""
    said = f"Switchboard listens on {base}/{workers}"
    if settings.ASGI_APPLICATION != OWN_SITE:
        return said
    return f"{said}: console {base}/console/, admin {base}/admin/, API {base}/api/docs"
