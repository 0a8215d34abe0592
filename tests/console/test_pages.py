"""Pages of the console: who sees which, and the policy that comes with every answer."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.test.utils import override_script_prefix

from routing_app.console.access import ACTS
from routing_app.console.menu import PAGES, Page

pytestmark = pytest.mark.django_db

GUARDED = [page for page in PAGES if page.permission]


def client_of(*permissions: str, staff: bool = True) -> Client:
    """A browser with the session of a new user, with permissions such as `core.trace`."""
    user = User.objects.create(username=f"user{User.objects.count()}", is_staff=staff)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def url_of(page: Page) -> str:
    return f"/console/{page.path}".replace("<str:id>", "0123456789abcdef01234567")


def linked(html: str, page: Page) -> bool:
    return f'href="{url_of(page)}"' in html


def check_policy(answer: Any) -> None:
    directives = dict(one.split(" ", 1) for one in answer["Content-Security-Policy"].split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == "'self'"
    assert directives["connect-src"] == "'self' ws://testserver"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_visitor_is_sent_to_the_log_in(page: Page) -> None:
    answer = Client().get(url_of(page), {"q": "1"})

    assert (answer.status_code, answer["Location"]) == (
        302,
        f"/admin/login/?next={url_of(page)}%3Fq%3D1",
    )
    check_policy(answer)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_user_who_is_not_staff_is_refused(page: Page) -> None:
    permissions = [page.permission] if page.permission else []
    answer = client_of(*permissions, staff=False).get(url_of(page))

    assert answer.status_code == 403
    check_policy(answer)


@pytest.mark.parametrize("page", GUARDED, ids=lambda page: page.name)
def test_staff_without_the_permission_is_refused_and_not_shown_the_way(page: Page) -> None:
    client = client_of()
    answer = client.get(url_of(page))

    assert answer.status_code == 403
    assert page.permission in answer.content.decode()
    assert not linked(client.get("/console/").content.decode(), page)
    check_policy(answer)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_staff_with_the_permission_sees_the_page_alone(page: Page) -> None:
    permissions = [page.permission] if page.permission else []
    answer = client_of(*permissions).get(url_of(page))
    html = answer.content.decode()

    assert answer.status_code == 200
    check_policy(answer)
    assert linked(html, page) == bool(page.group)
    hidden = [one for one in GUARDED if one.group and one.permission != page.permission]
    assert [one.name for one in hidden if linked(html, one)] == []
    assert "<style" not in html
    assert " style=" not in html
    assert html.count("<script") == html.count("<script src=") + html.count('<script type="module" src=')


def test_a_page_says_which_acts_its_user_may_do() -> None:
    for act, permission in ACTS.items():
        html = client_of(permission).get("/console/").content.decode()
        assert act in html.partition('data-acts="')[2].partition('"')[0].split()


def test_a_superuser_sees_all_pages() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))

    html = client.get("/console/").content.decode()
    assert [page.name for page in PAGES if page.group and not linked(html, page)] == []


def test_a_page_knows_its_socket_below_the_root_of_the_server() -> None:
    client = client_of()

    assert 'data-socket="/console/socket"' in client.get("/console/").content.decode()
    with override_script_prefix("/below/"):
        assert 'data-socket="/below/console/socket"' in client.get("/console/").content.decode()


def test_names_that_are_markup_are_text() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser('<img src=x onerror="alert(1)">'))

    assert "<img" not in client.get("/console/").content.decode()


@pytest.mark.parametrize("verb", ["post", "put", "delete"])
def test_pages_are_only_read(verb: str) -> None:
    answer = getattr(client_of(), verb)("/console/")

    assert answer.status_code == 405
    check_policy(answer)
