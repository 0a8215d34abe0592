"""HTTP paths of the events protocol, as the original has them, below the server's root."""

from __future__ import annotations

from django.urls import path, re_path

from routing_app.events.account_views import ChangePasswordView, LoginView, LogoutView, RegisterView, healthz
from routing_app.events.rest import NotFoundView
from routing_app.events.walker_views import urlpatterns as walker_paths

urlpatterns = [
    path("healthz", healthz),
    path("user/register", RegisterView.as_view()),
    path("user/login", LoginView.as_view()),
    path("user/change_password", ChangePasswordView.as_view()),
    path("user/logout", LogoutView.as_view()),
    re_path("^user/", NotFoundView.as_view()),
    *walker_paths(),
]
