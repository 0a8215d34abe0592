"""A protocol's internal events go to its handler, never to a client."""

from __future__ import annotations

import pytest

from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.publication import Publication

pytestmark = pytest.mark.once


class Silence:
    """A relay that reaches no other process."""

    def receive_with(self, deliver: object, on_gap: object) -> None:
        self.deliver = deliver


def test_publication_of_an_internal_event_goes_to_its_handler_alone() -> None:
    hub = Hub(Silence())  # type: ignore[arg-type]
    received: list[Publication] = []

    def handle(publication: Publication) -> int:
        received.append(publication)
        return 7

    hub.on("protocol.ask", handle)

    question = Publication(("worker:1",), ["question"], event="protocol.ask")
    assert hub.deliver(question) == 7
    assert hub.deliver(Publication(("worker:1",), ["question"])) == 0
    assert received == [question]
