"""The access log, in Daphne's form: a line a request, and for sockets one for each step of their life."""

from __future__ import annotations

import datetime
from typing import Any, Final, TextIO

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

    def __call__(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Write what `action` of `protocol` (`http` or `websocket`) is worth a line."""
        if protocol == "http":
            self._write(details, f"{details['method']} {details['path']}")
        elif word := STEPS.get(action):
            self._write(details, f"{word} {details['path']}")

    def _write(self, details: dict[str, Any], request: str) -> None:
        now = datetime.datetime.now().strftime("%d/%b/%Y:%H:%M:%S")  # noqa: DTZ005 - Daphne's, without a zone
        status, size = details.get("status") or "-", details.get("size") or "-"
        self._stream.write(f'{details["client"]} - - [{now}] "{request}" {status} {size}\n')
