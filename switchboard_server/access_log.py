"""The access log, in Daphne's form: a line a request, and for sockets one for each step of their life."""

from __future__ import annotations

import datetime
import logging
from typing import Any, Final, TextIO

logger = logging.getLogger("switchboard.server")

STEPS: Final = {
    "connecting": "WSCONNECTING",
    "rejected": "WSREJECT",
    "connected": "WSCONNECT",
    "disconnected": "WSDISCONNECT",
}


class AccessLog:
    """Writes lines to a stream: client, time, request, status, bytes of the body."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failed = False

    def __call__(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Write what `action` of `protocol` (`http` or `websocket`) is worth a line."""
        if protocol == "http":
            self._write(details, f"{details['method']} {details['path']}")
        elif word := STEPS.get(action):
            self._write(details, f"{word} {details['path']}")

    def _write(self, details: dict[str, Any], request: str) -> None:
        now = datetime.datetime.now().strftime("%d/%b/%Y:%H:%M:%S")  # noqa: DTZ005 - Daphne's, without a zone
        status, size = details.get("status") or "-", details.get("size") or "-"
        try:
            self._stream.write(f'{details["client"]} - - [{now}] "{request}" {status} {size}\n')
        except OSError as error:  # no client pays for a full disk
            if not self._failed:
                logger.warning("the access log cannot be written, and lines are missing: %s", error)
            self._failed = True
        else:
            self._failed = False
