"""A topic: one kind of data that pages of the console ask for, or watch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Hashable
from typing import Any, ClassVar

from routing_app.console.access import Viewer


class TopicError(Exception):
    """Raised by a topic that has no data: 400, 403, 404, or 503, after which a watch goes on."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Topic(ABC):
    """Data that is read again and again while a page watches; equal params share one reading."""

    name: ClassVar[str]
    permissions: ClassVar[tuple[str, ...]] = ()
    """Permissions of Django that a viewer needs, all of them, beside being staff."""
    every_seconds: ClassVar[float] = 1.0
    is_told_again: ClassVar[bool] = True
    """False: a page is not told what it was told last."""
    begins_otherwise: ClassVar[bool] = False
    """True when the first data of a watch is another than those after it: `begin`. It comes again where one
    of those was left out."""

    def may(self, viewer: Viewer) -> bool:
        """True while a viewer may see this."""
        return all(map(viewer.has_perm, self.permissions))

    def checked(self, params: dict[str, Any]) -> dict[str, Any]:
        """The params that count, with defaults. Raises TopicError (400)."""
        return params

    def variant(self, viewer: Viewer) -> Hashable:
        """Equal for viewers that see the same."""
        return ()

    @abstractmethod
    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """The data of this moment, any JSON. Raises TopicError."""

    async def begin(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """The first data of a watch, or the answer to one question."""
        return await self.read(viewer, params)


class Followed(Topic):
    """Data that comes by itself, for each watch on its own."""

    @abstractmethod
    def follow(self, viewer: Viewer, params: dict[str, Any]) -> AsyncIterator[Any]:
        """The data, one after the other; the watch ends with it. Raises TopicError."""

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """There is nothing to read once."""
        raise TopicError(400, "This can only be watched.")
