"""The requests of a connection that wait for their answers, and the publishes among them that are kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from switchboard_client import wire
from switchboard_client.dialing import LATER, may_pass, waits
from switchboard_client.errors import RequestError
from switchboard_client.pending import Request

logger = logging.getLogger(__name__)

MAX_KEPT: Final = 1000
"""Publishes that are kept, to be sent again after a reconnect."""
KEPT_SECONDS: Final = 240.0
"""They fail after that: a server knows the id of a message for 300 s (IDEMPOTENCY_SECONDS)."""

Replied = Callable[[dict[str, Any]], None]
"""Takes a reply before anything that comes after it is read."""


@dataclass(slots=True)
class _Kept:
    text: str
    is_sent: bool
    pauses: Iterator[float] | None = None
    """Of one that was sent more than once: an answer tells nothing of the copies before."""
    timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Have it not sent later."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Waiting:
    """By the name of their key. A kept one stays while the connection is lost, and is sent again.

    `began` is called for each that waits from now on. `send` sends a frame once more, or does nothing while
    the connection is lost.
    """

    def __init__(self, began: Callable[[], None], send: Callable[[str], object]) -> None:
        self._began = began
        self._send = send
        self._all: dict[str, Request] = {}
        self._replied: dict[str, Replied] = {}
        self._kept: dict[str, _Kept] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, name: str) -> bool:
        return name in self._all

    @property
    def has_room(self) -> bool:
        """True while another one may be kept."""
        return len(self._kept) < MAX_KEPT

    def add(self, name: str, timeout: float | None, replied: Replied | None = None) -> Request:
        """A request that waits from now on."""
        request = self._all[name] = Request(timeout)
        if replied is not None:
            self._replied[name] = replied
        request.on_end(lambda: self._forget(name, request))
        self._began()
        return request

    def keep(self, name: str, timeout: float | None, *, text: str, is_sent: bool) -> Request:
        """One that is kept, with its frame, which is sent at once or by `again`."""
        self._kept[name] = _Kept(text, is_sent)
        return self.add(name, KEPT_SECONDS if timeout is None else min(timeout, KEPT_SECONDS))

    def again(self) -> list[str]:
        """The frames of those that are kept, to be sent now, in the order in which they were asked first."""
        kept = [one for name, one in self._kept.items() if not self._all[name].done]
        for one in kept:
            one.stop()
            if one.is_sent and one.pauses is None:
                one.pauses = waits(LATER)
            one.is_sent = True
        return [one.text for one in kept]

    def take(self, direction: str, message: dict[str, Any]) -> None:
        """Take an answer: PARTIAL, REPLY or ERROR."""
        name = wire.name(message.get("key"))
        request = self._all.get(name)
        if request is None:
            logger.debug("an answer to no request")
        elif direction == "PARTIAL":
            request.partial(message)
        elif direction == "REPLY":
            if (replied := self._replied.pop(name, None)) is not None:
                replied(message)
            request.reply(message)
        elif not self._is_sent_later(name, message.get("code")):
            request.fail(RequestError(message))

    def _is_sent_later(self, name: str, code: object) -> bool:
        """True for a failure that passes of one whose copies before may have been published."""
        one = self._kept.get(name)
        if one is None or one.pauses is None or not may_pass(code):
            return False
        one.stop()
        one.timer = asyncio.get_running_loop().call_later(next(one.pauses), self._send, one.text)
        return True

    def fail(self, error: Exception, *, but_kept: bool) -> None:
        """No answers will come; to those that are kept neither, unless they may be sent again."""
        for name, request in list(self._all.items()):
            if not but_kept or name not in self._kept:
                request.fail(error)

    def _forget(self, name: str, request: Request) -> None:
        if self._all.get(name) is request:  # a later request may have the same key
            del self._all[name]
            if (kept := self._kept.pop(name, None)) is not None:
                kept.stop()
            self._replied.pop(name, None)
