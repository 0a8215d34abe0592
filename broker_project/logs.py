"""The log: one line for each record, to stderr, without query strings, since those hold tokens."""

from __future__ import annotations

import logging
from typing import Any


def to_stderr(level: str) -> dict[str, Any]:
    """Django's LOGGING for records from `level` up."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"no_paths": {"()": "django.utils.log.CallbackFilter", "callback": _names_no_path}},
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Access lines hold query strings, and query strings hold tokens.
            "daphne.access": {"level": "CRITICAL", "propagate": False},
            "django.channels.server": {"level": "CRITICAL", "propagate": False},
            # A 4xx is the client's fault, and counted; Django would warn of each.
            "django.request": {"level": "ERROR"},
            # A body over the limit is the client's fault, and answered 413; Django would write a traceback.
            "django.security.RequestDataTooBig": {"level": "CRITICAL", "propagate": False},
            "uvicorn.access": {"level": "CRITICAL", "propagate": False},
            "uvicorn.error": {"filters": ["no_paths"]},
        },
    }


def _names_no_path(record: logging.LogRecord) -> bool:
    """False for uvicorn's lines about handshakes, which hold query strings."""
    return '"WebSocket' not in str(record.msg)
