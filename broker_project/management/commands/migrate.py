"""`manage.py migrate`: Django's, for a database that workers use while it runs."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from broker_project.serving import preflight, table_changes


class Command(migrate.Command):
    """On PostgreSQL one process at a time migrates, and says what it waits for."""

    _connection: BaseDatabaseWrapper
    _seconds: float

    help = (
        "Makes and changes the tables. On PostgreSQL workers may go on: it waits a short time for a table "
        "that they use, says who uses it, and tries again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """The options that Django's command does not have."""
        super().add_arguments(parser)
        parser.add_argument(
            "--lock-timeout",
            type=float,
            default=table_changes.LOCK_SECONDS,
            metavar="SECONDS",
            help="how long one try waits for a table; workers that use the table wait as long (%(default)s)",
        )
        parser.add_argument(
            "--tries", type=int, default=table_changes.TRIES, help="before it gives up (%(default)s)"
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Say in one line that the database does not answer: Django's checks would raise what they find."""
        try:
            preflight.check_database()
        except preflight.StartProblem as problem:
            raise CommandError(str(problem)) from None
        return super().execute(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate. Raises CommandError when a table was in use at every try."""
        connection = self._connection = connections[options["database"]]
        self._seconds, tries = options["lock_timeout"], options["tries"]
        run = partial(super().handle, *args, **options)
        if connection.vendor != "postgresql" or options["plan"] or options["check_unapplied"]:
            run()
            return
        with table_changes.turn(connection):
            try:
                table_changes.change_tables(connection, run, self._seconds, tries)
            except OperationalError as error:
                if not isinstance(error.__cause__, table_changes.TRIED_AGAIN):
                    raise
                raise CommandError(
                    f"gave up after {tries} tries: each time a table was in use for longer than "
                    f"{self._seconds:g} s; end what is named above, and migrate again"
                ) from error

    def migration_progress_callback(self, action: str, migration: Any = None, fake: bool = False) -> None:
        """Let a migration that is not atomic wait: another try would begin with what this one has done."""
        if action.endswith("apply_start") and self._connection.vendor == "postgresql":
            table_changes.limit_waits(self._connection, self._seconds if migration.atomic else 0)
        super().migration_progress_callback(action, migration, fake)
