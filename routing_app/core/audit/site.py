"""Django's admin with all that is done in it recorded, whichever app a model is of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from itertools import islice
from typing import Any, Final

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import transaction
from django.db.models import Model, QuerySet
from django.dispatch import receiver
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from routing_app.core.access.masking import mask
from routing_app.core.audit import calls
from routing_app.core.audit.actor import NOBODY, actor_of
from routing_app.core.audit.entries import OK, entry, keep, network_of, record
from routing_app.core.audit.refusals import REFUSALS

MAX_TARGETS: Final = 1000
"""Rows of a bulk action that have an entry each; one more entry counts the others."""
FAILED: Final = "refused: wrong name or password"


class AuditedSite(admin.AdminSite):
    """The site of all models."""

    def register(
        self,
        model_or_iterable: type[Model] | Iterable[type[Model]],
        admin_class: type[admin.ModelAdmin[Any]] | None = None,
        **options: Any,
    ) -> None:
        """Register models with an admin that records."""
        base = admin_class or admin.ModelAdmin
        audited: Any = type(base.__name__, (_AuditedAdmin, base), {"__module__": base.__module__})
        super().register(model_or_iterable, audited, **options)

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:
        """Django: a view of the site, behind its log-in."""
        return super().admin_view(_recorded(view), cacheable)


class _AuditedAdmin:
    """Records what a `ModelAdmin` does, in the transaction of its form."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Django: a row was made."""
        _record(request, "create", [obj])
        return super().log_addition(request, obj, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Django: a row was changed, or its inlines, a password, permissions."""
        _record(request, "change", [obj])
        return super().log_change(request, obj, message)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Django: rows are about to be deleted."""
        _record(request, "delete", queryset)
        return super().log_deletions(request, queryset)  # type: ignore[misc]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Django: the actions on selected rows."""
        actions = super().get_actions(request)  # type: ignore[misc]
        return {name: (_action(name, call), *rest) for name, (call, *rest) in actions.items()}


def _action(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """An action that records when it was done: one that shows a page first answers with that page."""

    @wraps(call)
    def run(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        if name == "delete_selected":  # logs its deletions by itself
            with transaction.atomic():
                return call(modeladmin, request, queryset)
        selected = list(queryset[: MAX_TARGETS + 1])  # as they are now: it may delete them
        count = len(selected) if len(selected) <= MAX_TARGETS else queryset.count()
        answer = call(modeladmin, request, queryset)
        if answer is None:
            _record(request, name, selected, count)
        return answer

    return run


def _record(request: HttpRequest, action: str, rows: Iterable[Any], count: int = 0) -> None:
    """An entry for each row, up to MAX_TARGETS, and one for the others, of `count` (0: count them)."""
    actor, network = actor_of(request.user), network_of(request)
    rows = iter(rows)
    targets = [_target(row) for row in islice(rows, MAX_TARGETS)]
    if left := max(count - len(targets), sum(1 for _ in rows)):
        targets.append(f"{targets[-1].rpartition(' ')[0]}: {left} more")
    keep([entry(action, target, OK, actor, network) for target in targets])
    calls.done(request)


def _target(row: Any) -> str:
    return calls.target_of(row, row.pk)


def _recorded(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view of the site that is recorded where it was a form of its own, and did something."""

    @wraps(view)
    def run(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response = view(request, *args, **kwargs)
        match = request.resolver_match
        if request.method != "POST" or calls.is_done(request) or match is None or _is_stock(view):
            return response
        if response.status_code < 400 and not _has_errors(response):
            record(match.url_name or "", request.path, OK, actor_of(request.user), network_of(request))
        return response

    return run


def _is_stock(view: Callable[..., Any]) -> bool:
    """True for the pages of Django's `ModelAdmin`, which say by themselves what they have done."""
    stock = ("changelist_view", "add_view", "change_view", "delete_view", "history_view")
    return getattr(view, "__name__", "") in stock


def _has_errors(response: HttpResponseBase) -> bool:
    """True for a page that shows its form again, with errors."""
    form = (getattr(response, "context_data", None) or {}).get("form")
    return bool(form is not None and form.errors)


# --- log-ins ----------------------------------------------------------------------------------------------


def _is_ours(request: HttpRequest | None) -> bool:
    """True for a request to this site; other log-ins are those of the events protocol's users."""
    match = getattr(request, "resolver_match", None)
    return match is not None and match.app_name == "admin"


@receiver(user_logged_in)
def _logged_in(request: HttpRequest | None, user: Any, **_: Any) -> None:
    if request is not None and _is_ours(request):
        record("login", _target(user), OK, actor_of(user), network_of(request))


@receiver(user_logged_out)
def _logged_out(request: HttpRequest | None, user: Any, **_: Any) -> None:
    if request is not None and user is not None and _is_ours(request):
        record("logout", _target(user), OK, actor_of(user), network_of(request))
        calls.done(request)


@receiver(user_login_failed)
def _login_failed(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """A name that no user has may be a password that was typed in the wrong field: it is masked."""
    if request is None or not _is_ours(request):
        return
    network = network_of(request)
    if REFUSALS.take(NOBODY, network):
        users = get_user_model()
        name = str(credentials.get(users.USERNAME_FIELD, ""))
        known = users._default_manager.filter(**{users.USERNAME_FIELD: name}).first()
        target = _target(known) if known is not None else f"{users._meta.label_lower}: {mask(name)}"
        record("login", target, FAILED, NOBODY, network)
