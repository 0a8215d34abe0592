"""Numbers the rows of the outbox in the order in which they are written."""

from __future__ import annotations

from typing import Any


def number_rows(apps: Any, schema_editor: Any) -> None:
    """Make a sequence the default of `outbox_message.position` on PostgreSQL; SQLite has its own numbers."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("CREATE SEQUENCE outbox_message_position_seq OWNED BY outbox_message.position")
        schema_editor.execute(
            "ALTER TABLE outbox_message"
            " ALTER COLUMN position SET DEFAULT nextval('outbox_message_position_seq')"
        )
