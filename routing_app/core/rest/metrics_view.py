"""`GET /metrics`: what this server counted, for Prometheus."""

from __future__ import annotations

import os

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess

from routing_app.core.access import keys
from routing_app.core.access.bearer import presented_key
from routing_app.core.audit.actor import actor_of_request, presented
from routing_app.core.models import Scope
from routing_app.core.models.audit import ActorKind


@require_GET
def metrics_view(request: HttpRequest) -> HttpResponse:
    """The metrics of all workers of this host; needs a key with the `read` scope, or a member of the staff
    with the permission, unless METRICS_OPEN.
    """
    if not settings.METRICS_OPEN and not _may_read(request):
        return HttpResponse(
            "an API key with the scope read is needed\n",
            status=403 if _is_known(request) else 401,
            content_type="text/plain",
        )
    return HttpResponse(generate_latest(_registry()), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    # The key first: an answer that depends on a session is not compressed.
    key = keys.find(presented_key(request)) if presented_key(request) else None
    if key is not None:
        presented(request, key)
        if Scope.READ in key.scopes:
            return True
    user = request.user
    return bool(user.is_active and user.is_staff and user.has_perm("core.view_workerrecord"))


def _is_known(request: HttpRequest) -> bool:
    """True where the caller is known, and only the right is missing."""
    return actor_of_request(request).kind is not ActorKind.NOBODY


def _registry() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
