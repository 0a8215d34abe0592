"""Pages of the console: for staff, each with its permission."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import get_script_prefix, reverse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from routing_app import __version__
from routing_app.console.access import acts_of
from routing_app.console.menu import Page, menu_of
from routing_app.console.policy import with_policy
from routing_app.core.protocol import registered


@with_policy
@require_safe
@ensure_csrf_cookie
def page_view(request: HttpRequest, page: Page, **route: Any) -> HttpResponse:
    """A page; a visitor without a session is sent to the log-in, and others without the right get 403.

    What the route names is in `route`, for the template.
    """
    user = request.user
    if not user.is_authenticated:
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    if not user.is_active or not user.is_staff:
        return render(request, "console/refused.html", {"title": "Not for your account"}, status=403)
    status = 200 if page.may(user) else 403
    context = {
        "page": page,
        "title": page.title,
        "menu": menu_of(user, page),
        "acts": " ".join(acts_of(user)),
        "route": route,
        # Sockets stand below the root of the server, wherever a project has put the pages.
        "socket": f"{get_script_prefix()}console/socket",
        "version": __version__,
        "protocols": " ".join(one.name for one in registered() if not one.of_operators),
    }
    if status == 200:
        context |= page.context()
    return render(
        request, page.template if status == 200 else "console/forbidden.html", context, status=status
    )
