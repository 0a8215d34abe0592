"""The log: one line for each record, to stderr, without query strings, since those hold tokens.

A line that belongs to a request has its `X-Request-ID` in brackets behind the name of the module. With
`LOG_FORMAT=json` each line is one JSON object instead. What a first run prints is not logged in either form.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

from routing_app.core.log_context import CONNECTION
from routing_app.core.request_id import CURRENT, WithRequestId

FORMATS: Final = ("text", "json")


class JsonLine(logging.Formatter):
    """One JSON object a record: `time` (UTC), `level`, `logger`, `message`; `request_id`, `connection` and
    `exception` where there is one.

    The handler runs where the line was written, so the variables of its context are there.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of ASCII."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "connection": CONNECTION.get(),
            "request_id": CURRENT.get(),
            "exception": self.formatException(record.exc_info) if record.exc_info else record.exc_text,
            "stack": record.stack_info,
        }
        known = {name: value for name, value in line.items() if value or name == "message"}
        return json.dumps(known)


def to_stderr(level: str, log_format: str = "text") -> dict[str, Any]:
    """Django's LOGGING for records from `level` up, in one of FORMATS."""
    if log_format == "json":
        logging.captureWarnings(True)  # else they are written to stderr as they are
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "no_paths": {"()": "django.utils.log.CallbackFilter", "callback": _names_no_path},
            "request_id": {"()": WithRequestId},
        },
        "formatters": {
            "text": {"format": "%(asctime)s %(levelname)s %(name)s%(request)s %(message)s"},
            "json": {"()": JsonLine},
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": log_format, "filters": ["request_id"]}
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Access lines hold query strings, and query strings hold tokens.
            "daphne.access": {"level": "CRITICAL", "propagate": False},
            "django.channels.server": {"level": "CRITICAL", "propagate": False},
            # A 4xx is the client's fault, and counted; Django would warn of each.
            "django.request": {"level": "ERROR"},
            # A body over the limit is the client's fault, and answered 413; Django would write a traceback.
            "django.security.RequestDataTooBig": {"level": "CRITICAL", "propagate": False},
            # A line for each call of a webhook, with its URL, which may hold a secret.
            "httpx": {"level": "WARNING"},
            "uvicorn.access": {"level": "CRITICAL", "propagate": False},
            "uvicorn.error": {"filters": ["no_paths"]},
        },
    }


def _names_no_path(record: logging.LogRecord) -> bool:
    """False for uvicorn's lines about handshakes, which hold query strings."""
    return '"WebSocket' not in str(record.msg)
