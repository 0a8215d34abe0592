"""Every HTTP path of the server: the project's own, and those of the protocols."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import TemplateView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.routers import SimpleRouter

from broker_project import protocols
from routing_app.core.rest.api import ClientViewSet
from routing_app.core.rest.history import history_view
from routing_app.core.rest.metrics_view import metrics_view
from routing_app.core.rest.publish import batch_view, publish_view
from routing_app.core.rest.rules import RuleViewSet

rest = SimpleRouter()
rest.trailing_slash = "/?"
rest.register("clients", ClientViewSet, basename="client")
rest.register("rules", RuleViewSet, basename="rule")

handler400 = "routing_app.core.rest.api.unreadable"
handler404 = "routing_app.core.rest.api.not_found"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("console/", TemplateView.as_view(template_name="console.html"), name="console"),
    path("metrics", metrics_view),
    path("api/publish", publish_view),
    path("api/publish/batch", batch_view),
    path("api/history", history_view),
    re_path(r"^api/schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(r"^api/docs/?$", SpectacularSwaggerView.as_view(url_name="schema")),
    path("api/", include(rest.urls)),
    *protocols.urls(),
]
