"""Management commands in the audit log: those that change something, or hand out a credential."""

from __future__ import annotations

import logging
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from django.core.management import CommandError, get_commands, load_command_class
from django.core.management.base import BaseCommand

logger = logging.getLogger(__name__)

READ_ONLY: Final = frozenset(
    (
        *("check", "checktoken", "codes", "collectstatic", "compilemessages", "createapikey"),
        *("diffsettings", "doctor", "dumpdata", "findstatic", "help", "inspectdb"),
        *("makemessages", "makemigrations", "metrics", "optimizemigration", "options", "runserver"),
        *("sendtestemail", "serve", "showmigrations", "spectacular", "sqlflush"),
        *("sqlmigrate", "sqlsequencereset", "squashmigrations", "startapp", "startproject"),
        *("test", "testserver", "version"),
    )
)
"""Commands that change no row, and `serve` and `createapikey`, which record by themselves what they make."""
IDLE: Final = frozenset({"-h", "--help", "--version", "--dry-run"})
"""Options with which a command changes nothing."""
SHOWN: Final = ("name", "username", "issuer", "publisher", "customer", "sub", "source", "app_label")
"""Options and arguments that say what a command was about; others may be secrets, and are left out."""


def run(argv: Sequence[str], execute: Callable[[], object]) -> None:
    """Run a command line, and record it. What it raises is raised."""
    name = argv[1] if len(argv) > 1 else "help"
    if (
        name.startswith("-")
        or name in READ_ONLY
        or {"-h", "--help", "--version", "--dry-run"}.intersection(argv)
    ):
        execute()
        return
    ended_well = False
    try:
        execute()
        ended_well = True
    except SystemExit as error:
        ended_well = not error.code
        raise
    finally:
        _record(name, argv, ended_well)


def _record(name: str, argv: Sequence[str], ended_well: bool) -> None:
    if name not in get_commands():
        return
    # Here, since it loads the worker, which no other command needs at its start.
    from routing_app.core.audit.actor import command_line  # noqa: PLC0415
    from routing_app.core.audit.entries import FAILED, OK, record  # noqa: PLC0415

    try:
        record(name, _target(name, argv[2:]), OK if ended_well else FAILED, command_line())
    except Exception as error:
        if ended_well:  # else the command has said what is wrong
            logger.warning("audit: the command %s is not recorded: %s", name, type(error).__name__)


def _target(name: str, arguments: Sequence[str]) -> str:
    """`name=demo ttl=900`: the options of SHOWN that were given."""
    try:
        app = get_commands()[name]
        command = app if isinstance(app, BaseCommand) else load_command_class(app, name)
        parser = command.create_parser("manage.py", name)
        known: Any = parser.parse_known_args(list(arguments))[0]
    except (CommandError, ArgumentError, SystemExit):
        return ""
    given = {one: getattr(known, one, None) for one in SHOWN}
    return " ".join(
        f"{one}={_shown(value)}" for one, value in given.items() if isinstance(value, str) and value
    )


def _shown(value: str) -> str:
    """A value; of a URL neither user and password nor query string."""
    if "://" not in value:
        return value
    try:
        url = urlsplit(value)
        return f"{url.scheme}://{url.hostname or ''}{url.path}"
    except ValueError:
        return "a URL"
