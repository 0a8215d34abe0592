"""A hub that makes spans of publishes, which go on in the workers that deliver them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from routing_app.core import tracing
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.outbox import UntilWritten
from routing_app.core.delivery.publication import INTERNAL, Publication

if TYPE_CHECKING:
    from routing_app.core.cluster.spread import AnyRelay

T = TypeVar("T")


class TracedHub(Hub):
    """What is between workers alone has no span; what a stream takes has its own (`Streams`)."""

    def __init__(self, spans: tracing.Spans, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._spans = spans

    async def publish(self, publication: Publication, id: str = "") -> int:
        """See Hub."""
        if self._has_own(publication):
            return await super().publish(publication, id)
        with self._spans.within(_begun(self._spans, publication)):
            return await super().publish(publication, id)

    def publish_soon(self, publication: Publication) -> int:
        """See Hub."""
        if self._has_own(publication):
            return super().publish_soon(publication)
        with self._spans.within(_begun(self._spans, publication)):
            return super().publish_soon(publication)

    def _receive(self, publication: Publication) -> int:
        if not publication.trace:
            return super()._receive(publication)
        with tracing.span("deliver", "CONSUMER", publication.trace):
            return super()._receive(publication)

    def _has_own(self, publication: Publication) -> bool:
        is_kept = self.streams is not None and bool(self.streams.kept(publication))
        return is_kept or publication.event.startswith(INTERNAL)


def _begun(spans: tracing.Spans, publication: Publication) -> Any:
    """The span of a publish; the publication takes it along."""
    attributes = {"addresses": len(publication.addresses), "event": publication.event}
    span = spans.begin("publish", "PRODUCER", "", attributes)
    publication.trace = spans.parent_of(span)
    return span


def until_done(publication: Publication, done: Callable[[T], None]) -> Callable[[T], None]:
    """Begin the span of a publish to a stream, which ends when `done` is called."""
    assert tracing.spans is not None
    spans = tracing.spans
    span = _begun(spans, publication)

    def ended(outcome: T) -> None:
        if isinstance(outcome, Exception):
            spans.fail(span, type(outcome).__name__)
        span.end()
        done(outcome)

    return ended


def hub_of(relay: AnyRelay, until_written: UntilWritten) -> Hub:
    """A hub, that makes spans where they are made."""
    if tracing.spans is None:
        return Hub(relay, until_written=until_written)
    return TracedHub(tracing.spans, relay, until_written=until_written)
