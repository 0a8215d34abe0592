"""Every HTTP path of the server, in one table. `sockets.py` is its twin for WebSockets."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import TemplateView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.routers import SimpleRouter

from routing_app.core.api import ClientViewSet, PublishView
from routing_app.core.exposition import metrics_view
from routing_app.events.api import ChannelViewSet
from routing_app.requests.api import RequestView, SendView
from routing_app.rooms.api import RoomViewSet
from routing_app.rooms.original import bus_message, healthcheck
from routing_app.tokens.api import TokenViewSet
from routing_app.tokens.form_api import form_api
from sessions_app.urls import urlpatterns as sessions

rest = SimpleRouter()
rest.trailing_slash = "/?"  # a POST without it would be lost in the redirect
rest.register("clients", ClientViewSet, basename="client")
rest.register("rooms", RoomViewSet, basename="room")
rest.register("channels", ChannelViewSet, basename="channel")
rest.register("tokens", TokenViewSet, basename="token")

handler400 = "routing_app.core.api.unreadable"
handler404 = "routing_app.core.api.not_found"

urlpatterns = [
    path("", form_api),
    path("api/", form_api),
    path("admin/", admin.site.urls),
    path("console/", TemplateView.as_view(template_name="console.html"), name="console"),
    path("", include(sessions)),
    path("metrics", metrics_view),
    path("healthcheck", healthcheck),
    path("bus-message/<path:room>", bus_message),
    path("api/publish", PublishView.as_view()),
    re_path(r"^api/connections/(?P<id>[0-9a-f]+)/request$", RequestView.as_view()),
    re_path(r"^api/connections/(?P<id>[0-9a-f]+)/send$", SendView.as_view()),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema")),
    path("api/", include(rest.urls)),
    path("", include("routing_app.events.urls")),
]
