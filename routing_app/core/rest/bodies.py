"""The body of a request: whole, of a known length, and within the limit of its path, whatever framing it has.

Django, REST Framework and views look at Content-Length, which a body in chunks does not have, and servers
pass such a body on as it comes. `Bodies` stands before all of them, on every server. Of a body that is too
large they get the length alone: each protocol refuses it with 413 in words of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any, Final, TypeVar

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.urls import Resolver404, resolve

SMALL: Final = 16 * 1024
"""Bytes that every path takes, without a look at its limit."""
DRAINED: Final = 16 * 2**20
"""Bytes of a refused body that are read and thrown away: where a server closes a connection with unread
bytes, the client sees a reset and no answer."""

Scope = Mapping[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]
View = TypeVar("View", bound=Callable[..., Any])


class BodyTooLarge(Exception):
    """The body is larger than its limit: by its Content-Length, or as far as it was read."""

    def __init__(self, size: int, whole: bool) -> None:
        super().__init__(f"{size} bytes")
        self.size = size
        self.whole = whole
        """True when it was read to its end, so that the connection can serve on."""


class Gone(Exception):
    """The client went away before the end of its body."""


def limited(size: int) -> Callable[[View], View]:
    """Decorate a view that takes bodies of `size` bytes and no more, by default DATA_UPLOAD_MAX_MEMORY_SIZE.

    The view itself answers what is larger: it sees the length, and an empty body.
    """

    def mark(view: View) -> View:
        view.max_body = size  # type: ignore[attr-defined]  # as Django marks views
        return view

    return mark


async def read_body(scope: Scope, receive: Any, limit: int) -> bytes:
    """The whole body of an ASGI HTTP request. Raises BodyTooLarge, Gone.

    One that is announced as too large is not asked for where the client waits for `100 Continue`, which a
    server sends at the first receive.
    """
    # A refused body of up to DRAINED bytes is read to its end: the connection can serve on, and the client,
    # which may send before it reads, sees the answer and not a reset.
    announced = _announced(scope)
    if announced > DRAINED or (announced > limit and _header(scope, b"expect")):
        raise BodyTooLarge(announced, whole=False)
    body, size, more = bytearray(), 0, True
    while more and size <= max(limit, DRAINED):
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size <= limit:
            body += part
        more = message.get("more_body", False)
    if size > limit:
        raise BodyTooLarge(size, whole=not more)
    return bytes(body)


class Bodies:
    """ASGI middleware of HTTP: see the head of this file."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        """Serve one ASGI HTTP scope."""
        known = _is_small(scope) or (not _is_framed(scope) and _announced(scope) <= _limit(scope))
        return (self._application if known else self._read)(scope, receive, send)

    async def _read(self, scope: Scope, receive: Any, send: Any) -> None:
        try:
            body = await read_body(scope, receive, _limit(scope))
        except BodyTooLarge as error:
            answer = send if error.whole else _closing(send)
            await self._application(_with_length(scope, error.size), _empty(), answer)
        except Gone:
            return
        else:
            await self._application(_with_length(scope, len(body)), _whole(body, receive), send)


class BoundedForm(FileUploadHandler):
    """Refuses a multipart form by its length, as Django itself refuses every other body."""

    def handle_raw_input(
        self,
        input_data: IO[bytes],
        META: dict[str, str],  # noqa: N803 - Django's name
        content_length: int,
        boundary: str,
        encoding: str | None = None,
    ) -> None:
        """Django: a form is about to be read. Raises RequestDataTooBig."""
        limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if content_length > limit:
            raise RequestDataTooBig

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Django: a part of a file, which is for the handlers behind."""
        return raw_data

    def file_complete(self, file_size: int) -> UploadedFile[Any] | None:
        """Django: the end of a file; the handlers behind keep it."""
        return None


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


def _is_small(scope: Scope) -> bool:
    """Whether Content-Length alone frames the body, and says no more than any path takes."""
    found = False
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return False
        if name == b"content-length":
            if found or not value.isdigit() or len(value) > 5 or int(value) > SMALL:
                return False
            found = True
    return found or scope.get("http_version", "1.1").startswith("1")


def _is_framed(scope: Scope) -> bool:
    """True when the end of the body is said by the framing alone; over HTTP/2 it always may be."""
    if _header(scope, b"transfer-encoding"):
        return True
    return not scope.get("http_version", "1.1").startswith("1") and not _header(scope, b"content-length")


def _announced(scope: Scope) -> int:
    """The bytes of Content-Length; 0 where it is missing or does not count (RFC 9112, 6.3)."""
    length = _header(scope, b"content-length")
    return int(length[:20]) if length.isdigit() and not _header(scope, b"transfer-encoding") else 0


def _limit(scope: Scope) -> int:
    """The bytes that a path takes."""
    usual: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    try:
        view = resolve(scope["path"].removeprefix(scope.get("root_path", ""))).func
    except Resolver404:
        return usual
    return int(getattr(view, "max_body", usual))


def _with_length(scope: Scope, size: int) -> dict[str, Any]:
    """The scope as if Content-Length had said `size`."""
    framing = (b"content-length", b"transfer-encoding")
    headers = [header for header in scope["headers"] if header[0] not in framing]
    return {**scope, "headers": [*headers, (b"content-length", str(size).encode())]}


def _whole(body: bytes, receive: Any) -> Any:
    """A `receive` that gives a body in one message, then the messages behind it."""
    messages = iter([{"type": "http.request", "body": body}])

    async def next_message() -> Any:
        return next(messages, None) or await receive()

    return next_message


def _empty() -> Any:
    """A `receive` that has no body to give; bytes that the client still sends are not asked for."""

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    return _whole(b"", never)


def _closing(send: Any) -> Any:
    """A `send` after whose answer the connection ends: bytes of a body may still come."""

    async def answer(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return answer
