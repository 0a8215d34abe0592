"""Spans: from a request over its publish to the other worker, and nothing at all where none are wanted."""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from websockets.sync.client import connect

from broker_project.serving import preflight
from broker_project.serving.preflight import StartProblem
from routing_app.core import tracing
from routing_app.core.delivery.publication import Position, Publication
from tests.events.client import TOKEN_SECRET, make_user
from tests.hooks.backend import Backend, Hooks, call
from tests.metrics.collector import Collector, SpanSeen, collecting
from tests.requests.peer import Peer
from tests.requests.serving import serving
from tests.services.databases import REPOSITORY, Databases
from tests.services.ports import LOOPBACK
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once

TRACE = "0af7651916cd43dd8448eb211c80319c"

with_extra = pytest.mark.skipif(
    find_spec("opentelemetry") is None, reason="the extra `otel` is not installed (make test installs it)"
)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as one:
        yield one


@pytest.fixture(scope="module")
def traced(
    collector: Collector, databases: Databases, tmp_path_factory: pytest.TempPathFactory, redis_url: str
) -> Iterator[Server]:
    options = {
        "WORKERS": "2",
        "REDIS_URL": redis_url,
        "EXTRA_APPS": "tests.requests.app,tests.events.app",
        "EVENTS_TOKEN_SECRET": TOKEN_SECRET,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "WEBHOOKS_PRIVATE": "yes",
    }
    with serving(databases, tmp_path_factory, **options) as server:
        yield server


def publish(server: Server, address: str, trace: str = TRACE) -> dict[str, Any]:
    """Publish as a caller that makes spans, too; the positions."""
    headers = {
        "Authorization": f"Bearer {server.api_key}",
        "Content-Type": "application/json",
        "traceparent": f"00-{trace}-b7ad6b7169203331-01",
    }
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=60)
    try:
        connection.request(
            "POST", "/api/publish", json.dumps({"addresses": [address], "message": "m"}), headers
        )
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        positions: dict[str, Any] = answer.get("positions", {})
        return positions
    finally:
        connection.close()


def of_trace(collector: Collector, name: str) -> list[SpanSeen]:
    """The spans of a name in the trace of our publishes."""
    return [span for span in collector.named(name) if span.trace.hex() == TRACE]


@with_extra
def test_a_publish_is_followed_from_its_caller_to_the_other_worker(
    traced: Server, collector: Collector
) -> None:
    token = secrets.token_hex(8)
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connect(f"{traced.ws_url}/ws?RegisterToken={token}", proxy=None))

        def arrived() -> bool:
            publish(traced, f"token:{token}")
            return bool(of_trace(collector, "deliver"))

        wait_until(arrived)

    def complete() -> bool:
        """The span of each publish has come, and that of its request."""
        requests = {one.id for one in of_trace(collector, "POST /api/publish")}
        published = of_trace(collector, "publish")
        delivered = {one.parent for one in of_trace(collector, "deliver")}
        return delivered <= {one.id for one in published} and {one.parent for one in published} <= requests

    wait_until(complete)
    for request in of_trace(collector, "POST /api/publish"):
        assert request.parent.hex() == "b7ad6b7169203331"
        assert request.attributes["http.response.status_code"] == 200
    assert collector.services == {"switchboard"}
    assert token.encode() not in collector.raw


@with_extra
def test_walkers_handlers_hooks_and_webhooks_have_spans(traced: Server, collector: Collector) -> None:
    make_user(traced)
    peer = Peer(traced)
    peer.ask("boom")
    peer.ask("echo")
    peer.close()
    backend = Backend()
    try:
        with Hooks(traced, backend).hook("tokens", "connect", "*") as route:
            url = f"{traced.ws_url}/ws?RegisterToken={secrets.token_hex(4)}"

            def asked() -> bool:
                with connect(url, proxy=None):
                    return bool(route.asked)

            wait_until(asked)
        webhook = {"name": "spans", "url": route.url, "events": ["*"]}
        assert call(traced, "POST", "/api/webhooks/", webhook)[0] == 201

        def called() -> bool:
            with connect(f"{traced.ws_url}/ws?RegisterToken={secrets.token_hex(4)}", proxy=None):
                return bool(collector.named("webhook"))

        wait_until(called)
    finally:
        backend.close()
    wait_until(lambda: collector.named("walker") and collector.named("request") and collector.named("hook"))
    assert {"walker": "make_user"} in [one.attributes for one in collector.named("walker")]
    assert {"on": "connect"} in [one.attributes for one in collector.named("hook")]
    wait_until(lambda: {"type": "echo"} in [one.attributes for one in collector.named("request")])


@with_extra
def test_a_publish_to_a_stream_has_a_span(traced: Server, collector: Collector) -> None:
    token = secrets.token_hex(8)
    rule = {"pattern": f"token:{token}", "history_size": 5, "history_seconds": 60}
    assert call(traced, "POST", "/api/rules/", rule)[0] == 201
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connect(f"{traced.ws_url}/ws?RegisterToken={token}", proxy=None))
        stored: set[str] = set()

        def arrived() -> bool:
            # A worker that has not heard of the rule yet stores nothing.
            if publish(traced, f"token:{token}", trace := secrets.token_hex(16)):
                stored.add(trace)
            return any(span.trace.hex() in stored for span in collector.named("deliver"))

        wait_until(arrived)


@pytest.fixture
def wanted(settings) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:1"


def test_without_the_extra_the_start_stops_with_one_line(wanted: None, monkeypatch) -> None:
    monkeypatch.setattr(tracing, "NEEDED", ("opentelemetry_is_missing.sdk",))
    with pytest.raises(StartProblem) as stopped:
        preflight.check_settings(1)
    line = str(stopped.value)
    assert line.startswith("OTEL_EXPORTER_OTLP_ENDPOINT: ")
    assert "requirements-otel.txt" in line
    assert "\n" not in line
    with pytest.raises(ImproperlyConfigured):  # under another server
        tracing.start()
    assert tracing.spans is None


def test_an_endpoint_that_is_no_url_stops_the_start(settings) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "collector:4318"
    with pytest.raises(
        StartProblem, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT: expected a URL .* 'collector:4318'$"
    ):
        preflight.check_settings(1)


def test_nothing_of_it_is_imported_where_no_spans_are_wanted(tmp_path) -> None:
    """But what redis-py looks for by itself, and finds where the extra is installed: metrics."""
    code = (
        "import broker_project.asgi, sys; print(*(one for one in sys.modules if one.startswith('opentel')))"
    )
    environment = {"VAR_DIR": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(ended.stdout.split())
    assert not {
        one for one in loaded if one.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))
    }


def test_the_span_of_a_publish_crosses_in_its_envelope() -> None:
    for positions in (None, {"token:a": Position("e", 3)}):
        one = Publication(("token:a",), "m", binary=(("a", 0),), positions=positions, trace="00-a-b-01")
        for copy in (one, one.named("id"), one.placed(("token:a",), positions)):
            crossed = Publication.unpack(copy.pack())
            assert (crossed.trace, crossed.positions) == ("00-a-b-01", positions)
            assert crossed.binary == (("a", 0),)
    assert len(Publication(("token:a",), "m").pack()) == 6
