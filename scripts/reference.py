"""Pages of the site that are made from code: settings, commands and REST."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any, Final

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "broker_project.settings")
os.environ.setdefault("SECRET_KEY", "of nobody: pages of documents are made with it")

import django

django.setup()

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand, DjangoHelpFormatter
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings

from broker_project.management.commands import options
from routing_app.broker.document import GENERATING, PATHS

OURS: Final = ("broker_project", "routing_app", "sessions_app")
"""First names of the modules whose commands the page lists."""
METHODS: Final = ("get", "post", "put", "patch", "delete")
HELP_COLUMNS: Final = "100"


def settings_page() -> str:
    """Every setting, as `manage.py options` prints it."""
    return (
        "# Settings\n\nEvery setting is an environment variable of that name; `NAME_FILE` may name a file "
        f"that holds the value. `manage.py options` prints this table.\n\n{options.table()}\n"
    )


def our_commands() -> dict[str, BaseCommand]:
    """The commands of this project by name, in order."""
    owners = {name: str(owner) for name, owner in sorted(get_commands().items())}
    return {
        name: load_command_class(owner, name)
        for name, owner in owners.items()
        if owner.partition(".")[0] in OURS
    }


def commands_page() -> str:
    """The help of each of our commands."""
    parts = [
        "# Commands\n\n`switchboard-server <command>` of the package is `manage.py <command>` of a checkout. "
        "Django's own commands, such as `shell` and `changepassword`, are there as well. Every command "
        "takes Django's options too (`--verbosity`, `--traceback`, …).\n"
    ]
    parts += [
        f"## `{name}`\n\n{command.help}\n\n```text\n{_help(name, command)}\n```\n"
        for name, command in our_commands().items()
    ]
    return "\n".join(parts)


def _help(name: str, command: BaseCommand) -> str:
    """The usage and the options that the command adds to Django's."""
    command.suppressed_base_arguments = set(DjangoHelpFormatter.show_last)
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = HELP_COLUMNS
    try:
        parser = command.create_parser("manage.py", name)
        parser.description = None
        return parser.format_help().strip()
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def schema() -> dict[str, Any]:
    """The OpenAPI document, as `/api/schema` answers it."""
    with patched_settings(GENERATING):
        made: dict[str, Any] = SchemaGenerator(urlconf=PATHS).get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return made


def rest_page() -> str:
    """Every path and method of the OpenAPI document, by tag."""
    rows: dict[str, list[str]] = defaultdict(list)
    document = schema()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in METHODS:
                [tag, *_] = operation.get("tags", ["other"])
                rows[tag].append(f"| `{method.upper()} {path}` | {_first_sentence(operation)} |")
    told = {tag["name"]: tag.get("description", "") for tag in document.get("tags", ())}
    parts = [
        "# REST\n\nEvery call. The running server describes them with fields and examples at `/api/docs`, "
        "and as an OpenAPI document at `/api/schema`. Keys and scopes: [access.md](../docs/access.md).\n"
    ]
    for tag, lines in sorted(rows.items()):
        head = [f"## {tag}", "", *([told[tag], ""] if told.get(tag) else [])]
        parts.append("\n".join([*head, "| call | does |", "|---|---|", *lines, ""]))
    return "\n".join(parts)


def _first_sentence(operation: dict[str, Any]) -> str:
    text = " ".join(str(operation.get("summary") or operation.get("description") or "").split())
    sentence, stop, _ = text.partition(". ")
    return (sentence + stop.strip()).replace("|", "\\|")


PAGES: Final = {
    "reference/settings.md": settings_page,
    "reference/commands.md": commands_page,
    "reference/rest.md": rest_page,
}
