"""The requests of a connection that wait for their answers, and the publishes among them that are kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

from switchboard_client import wire
from switchboard_client.errors import RequestError
from switchboard_client.pending import Request

logger = logging.getLogger(__name__)

MAX_KEPT: Final = 1000
"""Publishes that are kept, to be sent again after a reconnect."""
KEPT_SECONDS: Final = 240.0
"""They fail after that: a server knows the id of a message for 300 s (IDEMPOTENCY_SECONDS)."""

Replied = Callable[[dict[str, Any]], None]
"""Takes a reply before anything that comes after it is read."""


class Waiting:
    """By the name of their key. A kept one stays while the connection is lost, and is sent again.

    `began` is called for each that waits from now on.
    """

    def __init__(self, began: Callable[[], None]) -> None:
        self._began = began
        self._all: dict[str, Request] = {}
        self._replied: dict[str, Replied] = {}
        self._kept: dict[str, str] = {}

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

    def keep(self, name: str, text: str, timeout: float | None) -> Request:
        """One that is kept, with its frame."""
        self._kept[name] = text
        return self.add(name, KEPT_SECONDS if timeout is None else min(timeout, KEPT_SECONDS))

    def kept(self) -> Iterator[str]:
        """The frames of those that are kept, in the order in which they were asked first."""
        return (text for name, text in self._kept.items() if not self._all[name].done)

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
        else:
            request.fail(RequestError(message))

    def fail(self, error: Exception, *, but_kept: bool) -> None:
        """No answers will come; to those that are kept neither, unless they may be sent again."""
        for name, request in list(self._all.items()):
            if not but_kept or name not in self._kept:
                request.fail(error)

    def _forget(self, name: str, request: Request) -> None:
        if self._all.get(name) is request:  # a later request may have the same key
            del self._all[name]
            self._kept.pop(name, None)
            self._replied.pop(name, None)
