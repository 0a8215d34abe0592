"""One connection to a receiver: a call at a time, its answer read as it comes, by `httptools`."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import httptools

from routing_app.core.outgoing.client import MAX_ANSWER_BYTES, Answer
from routing_app.core.outgoing.failures import AnswerBroken

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BYTES: Final = 1024 * 1024
"""Of an answer with all that frames it: chunks may have a byte each."""
WITHOUT_BODY: Final = (204, 304)
SWITCHING: Final = 101


class Connection(asyncio.Protocol):
    """What was received, and the answer that is waited for.

    No task reads: what comes is parsed where the loop hands it over, which costs half as much.
    """

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        # Some receivers are scripts that end lines by LF alone.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self.idle_since = 0.0
        self._begin_answer()

    def _begin_answer(self) -> None:
        self._received = 0
        self._status = 0
        """Of the answer, once its head is whole."""
        self._headers: dict[str, str] = {}
        self._is_framed = False
        """True where the end of the body does not depend on the end of the connection."""
        self._body = bytearray()

    # --- calls ------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """True while another call may be made."""
        return self._transport is not None and not self._transport.is_closing()

    def call(self, request: bytes) -> asyncio.Future[Answer]:
        """The answer to a call; AnswerBroken where none comes.

        A caller that waits no longer has to `close`: the answer may still come.
        """
        answer = self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None:
            self._fail("the connection was lost")
        else:
            self._begin_answer()
            self._transport.write(request)
        return answer

    def close(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Some bytes; nobody has asked for those that come between two calls."""
        if self._answer is None:
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # Its words have parts of what came.
            self._fail("the answer is not HTTP")
            return
        if self._received > MAX_BYTES:
            self._end(is_whole=False)
        elif self._received > MAX_HEAD_BYTES and not self._status:
            self._fail("the answer is not HTTP")

    def eof_received(self) -> None:
        """No more comes: the end of an answer that has no length."""
        if not self._status:
            self._fail("the connection was closed without an answer")
        elif not self._is_framed:
            self._end(is_whole=True)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._transport = None
        self._fail(f"the connection was lost{_words(exc)}")

    # --- httptools --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins; one that nobody has asked for would be that of the next call."""
        if self._answer is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; one that comes twice is a list."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """The body follows, or, behind one that only announces it, the answer itself."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._status = status
            self._is_framed = (
                status in WITHOUT_BODY
                or "content-length" in self._headers
                or "transfer-encoding" in self._headers
            )

    def on_body(self, body: bytes) -> None:
        """A part of the body; no more of it is read than MAX_ANSWER_BYTES."""
        self._body += body
        if len(self._body) > MAX_ANSWER_BYTES:
            self._end(is_whole=False)

    def on_message_complete(self) -> None:
        """The answer is whole, unless another one was announced."""
        if self._status:
            keeps = self._is_framed and self._parser.should_keep_alive()
            self._end(is_whole=True)
            if not keeps:
                self.close()
        elif self._parser.get_status_code() == SWITCHING:
            self._fail("the answer is not HTTP")
        else:
            self._headers = {}

    # ----------------------------------------------------------------------------------------------------

    def _end(self, *, is_whole: bool) -> None:
        answer, self._answer = self._answer, None
        if not is_whole:
            self.close()
        if answer is not None and not answer.done():
            body = bytes(self._body[:MAX_ANSWER_BYTES])
            answer.set_result(Answer(self._status, self._headers, body, is_whole))

    def _fail(self, why: str) -> None:
        answer, self._answer = self._answer, None
        self.close()
        if answer is not None and not answer.done():
            answer.set_exception(AnswerBroken(why))


def _words(error: Exception | None) -> str:
    return "" if error is None else f": {error}"
