"""Errors of the requests protocol."""

from __future__ import annotations

from typing import Any

from .wire import Answer


class RequestsFailure(Exception):
    """The base of the errors of requests and answers; a malformed frame has its own (`wire`)."""


class RequestError(RequestsFailure):
    """The other end answered with ERROR, or the request failed; `message` is the object it sent."""

    def __init__(self, message: dict[str, Any]) -> None:
        super().__init__(str(message.get("message") or message.get("code") or "the request failed"))
        self.message = Answer(message)

    @property
    def code(self) -> Any:
        """The `code` of the answer; None when it has none."""
        return self.message.get("code")


class ConnectionClosed(RequestsFailure):
    """The connection has ended, with this code and reason; no answer will come."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"connection closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class Answered(RequestsFailure, RuntimeError):
    """A second reply or error, or a partial after one of them: nothing is sent."""


class RequestDenied(RequestsFailure):
    """Raised by a handler: the request is answered with ERROR, `code` and `message`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class HookDenied(RequestDenied):
    """A hook has refused it, in its backend's words if it had any, or had no answer."""

    def __init__(self, reason: str, unavailable: bool) -> None:
        if unavailable:
            super().__init__("unavailable", "the backend that decides gave no valid answer; try again")
        else:
            super().__init__("forbidden", reason or "the backend does not allow it")


class BeyondLimit(RequestDenied):
    """The request is beyond a rate limit, and has been counted as such."""

    def __init__(self, seconds: float) -> None:
        super().__init__("rate", f"too many requests, try again in {seconds:.1f} s")


class TooManyPending(RequestsFailure, RuntimeError):
    """More requests wait for one client than the setting REQUESTS_MAX_PENDING allows."""
