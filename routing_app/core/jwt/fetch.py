"""Keys over HTTPS, bounded in time, size and redirects. A fetch blocks its thread."""

from __future__ import annotations

from enum import StrEnum
from http.client import HTTPException, HTTPResponse
from time import monotonic
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from routing_app import __version__
from routing_app.core.jwt.algorithms import check_url

STEP_SECONDS: Final = 3.0
"""For each step: to connect, and for every part of the answer."""
TOTAL_SECONDS: Final = 5.0
"""For all of them."""
MAX_BYTES: Final = 512 * 1024
MAX_REDIRECTS: Final = 3
REDIRECTS: Final = (301, 302, 303, 307, 308)
HEADERS: Final = {
    "User-Agent": f"Switchboard/{__version__}",
    "Accept": "application/jwk-set+json, application/json",
}
"""Firewalls of the web refuse the library's own User-Agent."""


class Reason(StrEnum):
    """The reason why there is no document: the `outcome` label of `switchboard_jwks_fetches_total`."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    STATUS = "status"
    REDIRECT = "redirect"
    CONTENT = "content"
    EXCEPTION = "exception"


class FetchFailed(Exception):
    """There is no document; the message is for the log."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.reason = reason


class _NoRedirects(HTTPRedirectHandler):
    """The library follows a redirect to http, and reads all of its body first; so they are followed here."""

    def redirect_request(self, *args: Any) -> None:
        """None: a redirect is an HTTPError."""


_opener = build_opener(_NoRedirects)


def fetch(url: str) -> bytes:
    """The body of the answer. Raises FetchFailed."""
    deadline = monotonic() + TOTAL_SECONDS
    try:
        check_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            answer = _asked(url, deadline)
            if isinstance(answer, bytes):
                return answer
            url = redirected(url, answer)
    except TimeoutError:
        raise FetchFailed(Reason.TIMEOUT, "no answer in time") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        kind = Reason.TIMEOUT if isinstance(reason, TimeoutError) else Reason.UNREACHABLE
        raise FetchFailed(kind, str(reason) or type(error).__name__) from None
    raise FetchFailed(Reason.REDIRECT, f"more than {MAX_REDIRECTS} redirects")


def _asked(url: str, deadline: float) -> bytes | str:
    """The body, or the URL of a redirect."""
    try:
        with _opener.open(Request(url, headers=HEADERS), timeout=STEP_SECONDS) as response:  # noqa: S310 - `check_url`
            return _body(response, deadline)
    except HTTPError as error:
        with error:
            location: str | None = error.headers.get("Location")
            if error.code in REDIRECTS and location:
                return location
            raise FetchFailed(Reason.STATUS, f"status {error.code}") from None


def _body(response: HTTPResponse, deadline: float) -> bytes:
    body = b""
    while part := response.read1(MAX_BYTES + 1 - len(body)):
        body += part
        if len(body) > MAX_BYTES:
            raise FetchFailed(Reason.CONTENT, f"more than {MAX_BYTES} bytes")
        if monotonic() > deadline:
            raise TimeoutError
    return body


def redirected(url: str, location: str) -> str:
    """The URL of a redirect. Raises FetchFailed when it is less safe than the one before."""
    try:
        target = urljoin(url, location)
        check_url(target)
    except ValueError:
        raise FetchFailed(Reason.REDIRECT, "redirected to a URL that is not https") from None
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise FetchFailed(Reason.REDIRECT, "redirected from https to http")
    return target
