"""Every HTTP path of the broker: operators' REST, and the paths of the protocols."""

from __future__ import annotations

from django.urls import include, path, re_path

from routing_app.broker import protocols
from routing_app.broker.document import PageView, SchemaView, docs_file
from routing_app.core.rest.api import ClientViewSet
from routing_app.core.rest.audit import AuditViewSet
from routing_app.core.rest.deliveries import DeliveryViewSet
from routing_app.core.rest.disconnect import DisconnectView
from routing_app.core.rest.history import history_view
from routing_app.core.rest.hooks import HookViewSet
from routing_app.core.rest.issuers import IssuerViewSet
from routing_app.core.rest.keys import KeyViewSet
from routing_app.core.rest.limits import LimitViewSet
from routing_app.core.rest.metrics_view import metrics_view
from routing_app.core.rest.publish import batch_view, publish_view
from routing_app.core.rest.revocations import RevocationViewSet
from routing_app.core.rest.router import AuditedRouter
from routing_app.core.rest.rules import RuleViewSet
from routing_app.core.rest.scheduled import ScheduledViewSet
from routing_app.core.rest.webhooks import WebhookViewSet
from routing_app.core.rest.workers import WorkerViewSet

rest = AuditedRouter()
rest.register("clients", ClientViewSet, basename="client")
rest.register("keys", KeyViewSet, basename="key")
rest.register("hooks", HookViewSet, basename="hook")
rest.register("limits", LimitViewSet, basename="limit")
rest.register("rules", RuleViewSet, basename="rule")
rest.register("issuers", IssuerViewSet, basename="issuer")
rest.register("audit", AuditViewSet, basename="audit")
rest.register("revocations", RevocationViewSet, basename="revocation")
rest.register("webhooks", WebhookViewSet, basename="webhook")
rest.register("deliveries", DeliveryViewSet, basename="delivery")
rest.register("scheduled", ScheduledViewSet, basename="scheduled")
rest.register("workers", WorkerViewSet, basename="worker")

urlpatterns = [
    path("metrics", metrics_view),
    path("api/publish", publish_view),
    path("api/publish/batch", batch_view),
    path("api/history", history_view),
    path("api/disconnect", DisconnectView.as_view()),
    re_path(r"^api/schema/?$", SchemaView.as_view(), name="switchboard-schema"),
    re_path(r"^api/docs/?$", PageView.as_view(url_name="switchboard-schema")),
    path("api/docs/files/<str:name>", docs_file, name="switchboard-docs-file"),
    path("api/", include(rest.urls)),
    *protocols.urls(),
]
