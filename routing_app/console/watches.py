"""What one open console watches: topics by the id that the page has given."""

from __future__ import annotations

import logging
from typing import Final

from routing_app.console import wire
from routing_app.console.access import Viewer
from routing_app.console.reading import Readings, Watch
from routing_app.console.topics import TOPICS, Topic, TopicError
from routing_app.console.wire import Ask
from routing_app.core import metrics
from routing_app.core.codes import Refusal

logger = logging.getLogger(__name__)

MAX_WATCHES: Final = 32
"""Topics that one page may watch at once."""
FORBIDDEN: Final = TopicError(403, "Your account does not have the permission for this.")


class Watches:
    """The watches of one socket."""

    def __init__(self, viewer: Viewer, readings: Readings) -> None:
        self.viewer = viewer
        self._readings = readings
        self._by_id: dict[int, Watch] = {}

    def ask(self, ask: Ask) -> None:
        """Answer once, or watch; a watch with the same id ends."""
        self.stop(ask.id)
        try:
            topic = self._checked(ask)
            watch = Watch(ask.id, topic, topic.checked(ask.params), self.viewer, once=not ask.watch)
        except TopicError as error:
            self._refuse(ask.id, error)
            return
        self._start(watch)

    def _checked(self, ask: Ask) -> Topic:
        topic = TOPICS.get(ask.topic)
        if topic is None:
            raise TopicError(404, "There is no such topic.")
        if not topic.may(self.viewer):
            raise FORBIDDEN
        if len(self._by_id) >= MAX_WATCHES:
            raise TopicError(400, f"At most {MAX_WATCHES} topics at once.")
        return topic

    def _start(self, watch: Watch) -> None:
        self._by_id[watch.id] = watch
        watch.on_end = lambda: self._ended(watch)
        self._readings.add(watch)

    def _ended(self, watch: Watch) -> None:
        if self._by_id.get(watch.id) is watch:
            del self._by_id[watch.id]

    def stop(self, id: int) -> None:
        """End a watch; nothing happens for one that is not there."""
        if (watch := self._by_id.pop(id, None)) is not None:
            self._readings.drop(watch)

    def stop_all(self) -> None:
        """End all of them."""
        for id in tuple(self._by_id):
            self.stop(id)

    def check(self) -> None:
        """Permissions have changed: end what the user may see no longer, and show the rest as it may."""
        for watch in tuple(self._by_id.values()):
            self.stop(watch.id)
            if not watch.topic.may(self.viewer):
                self._refuse(watch.id, FORBIDDEN)
                continue
            try:
                params = watch.topic.checked(watch.params)
                self._start(Watch(watch.id, watch.topic, params, self.viewer, watch.once))
            except TopicError as error:
                self._refuse(watch.id, error)

    def _refuse(self, id: int, error: TopicError) -> None:
        if error.status == FORBIDDEN.status:
            metrics.REFUSED.labels(self.viewer.connection.protocol, Refusal.FORBIDDEN).inc()
        self.viewer.connection.send(wire.error(id, error.status, error.detail))
