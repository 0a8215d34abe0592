"""Spans for OpenTelemetry: HTTP, publishes from worker to worker, walkers, handlers, hooks, webhooks.

They are made where OTEL_EXPORTER_OTLP_ENDPOINT is set. Without it nothing of OpenTelemetry is imported here;
redis-py imports its metrics where it finds them. Spans hold names from the code, counts and outcomes; neither
tokens, nor bodies, nor texts of exceptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
SERVICE: Final = "switchboard"
"""The name of the service, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES have another."""
HEADER: Final = "traceparent"

_OFF: Final = nullcontext()


class Spans:
    """Makes spans, and exports them in a thread of its own."""

    def __init__(self) -> None:
        from opentelemetry import propagate, trace  # noqa: PLC0415 - only where it is wanted
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        resource = Resource.create()
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": SERVICE}))
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SERVICE)
        self._propagate, self._trace = propagate, trace

    def begin(self, name: str, kind: str, parent: str, attributes: Mapping[str, Any]) -> Any:
        """A span that has begun; its parent is the current one where no other is given."""
        context = self._propagate.extract({HEADER: parent}) if parent else None
        kinds = self._trace.SpanKind
        return self._tracer.start_span(name, context, kinds[kind], attributes)

    @contextmanager
    def within(self, span: Any, ends: bool = True) -> Iterator[None]:
        """Make a span the current one; an exception is its status, by the name of its type alone."""
        with self._trace.use_span(span, ends, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except Exception as error:
                self.fail(span, type(error).__name__)
                raise

    def fail(self, span: Any, why: str) -> None:
        """The status of a span."""
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, why))

    def parent_of(self, span: Any) -> str:
        """A span as the `traceparent` of others."""
        carrier: dict[str, str] = {}
        self._propagate.inject(carrier, self._trace.set_span_in_context(span))
        return carrier.get(HEADER, "")

    def stop(self) -> None:
        """Export what waits."""
        self._provider.shutdown()


spans: Spans | None = None
"""Set while spans are made."""


def missing() -> str:
    """The reason for which spans that are wanted cannot be made, in one line; "" for none."""
    endpoint = settings.OTEL_EXPORTER_OTLP_ENDPOINT
    if not endpoint:
        return ""
    if not endpoint.startswith(("http://", "https://")):
        return f"{ENDPOINT}: expected a URL such as http://127.0.0.1:4318, but got {endpoint!r}"
    if not all(map(_is_there, NEEDED)):
        return f"{ENDPOINT}: spans need the extra `otel`: pip install -r requirements-otel.txt"
    return ""


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def start() -> None:
    """Make spans from now on, where they are wanted. Raises ImproperlyConfigured where that cannot be."""
    global spans  # noqa: PLW0603 - one for the process
    if reason := missing():
        raise ImproperlyConfigured(reason)
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT and spans is None:
        spans = Spans()


def span(
    name: str, kind: str = "INTERNAL", parent: str = "", **attributes: str | int
) -> AbstractContextManager[None]:
    """A span for the time of a context; nothing where none are made."""
    if spans is None:
        return _OFF
    return spans.within(spans.begin(name, kind, parent, attributes))


class TracedHttp:
    """ASGI middleware of HTTP: a span from a request to the beginning of its answer."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one HTTP scope."""
        assert spans is not None
        made = spans
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        attributes = {"http.request.method": scope["method"], "http.route": _place(scope["path"])}
        name = f"{scope['method']} {attributes['http.route']}"
        one = made.begin(name, "SERVER", headers.get(HEADER.encode(), ""), attributes)

        async def answer(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                one.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    made.fail(one, str(message["status"]))
                one.end()  # an event stream goes on for hours
            await send(message)

        try:
            with made.within(one, ends=False):
                await self._application(scope, receive, answer)
        finally:
            one.end()


def _place(path: str) -> str:
    """The beginning of a path, without what may be a token or a room."""
    first, _, rest = path.strip("/").partition("/")
    return f"/{first}/{rest.partition('/')[0]}" if first == "api" else f"/{first}"
