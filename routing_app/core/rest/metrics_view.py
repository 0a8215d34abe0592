"""`GET /metrics`: what this server counted, for Prometheus."""

from __future__ import annotations

import os

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess

from routing_app.core.access import keys
from routing_app.core.access.bearer import presented_key
from routing_app.core.models import Scope


@require_GET
def metrics_view(request: HttpRequest) -> HttpResponse:
    """The metrics of all workers of this host; needs a key with the `read` scope unless METRICS_OPEN."""
    if not settings.METRICS_OPEN and not _may_read(request):
        return HttpResponse(
            "an API key with the scope read is needed\n", status=401, content_type="text/plain"
        )
    return HttpResponse(generate_latest(_registry()), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    # The key first: an answer that depends on a session is not compressed.
    key = keys.find(presented_key(request)) if presented_key(request) else None
    if key is not None and Scope.READ in key.scopes:
        return True
    return bool(request.user.is_active and request.user.is_staff)


def _registry() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
