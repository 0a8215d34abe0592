"""The router of operators' REST: each change that a viewset makes comes with its entry in the audit log."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import ViewSetMixin

from routing_app.core.audit import calls
from routing_app.core.audit.actor import actor_of_request
from routing_app.core.audit.entries import OK, network_of, record


class AuditedRouter(SimpleRouter):
    """Registers viewsets with their changes recorded. A path may end with a slash or not: a POST that was
    redirected would be lost."""

    def __init__(self) -> None:
        super().__init__()
        self.trailing_slash = "/?"

    def register(self, prefix: str, viewset: type[ViewSetMixin], basename: str | None = None) -> None:
        """See SimpleRouter."""
        audited: Any = type(viewset.__name__, (_Audited, viewset), {"__doc__": viewset.__doc__})
        super().register(prefix, audited, basename)


class _Audited:
    """A viewset whose stock changes are transactions that hold their entries.

    Actions of its own are not, nor is any where a viewset `waits_for_writers`: they may wait for what other
    threads write. The middleware records those.
    """

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """REST Framework: the caller may call. Refused calls cost no transaction."""
        view: Any = self
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        if view.action in calls.WORDS and not getattr(view, "waits_for_writers", False):
            method = str(request.method).lower()
            setattr(self, method, partial(_change, view, getattr(self, method)))


def _change(view: Any, handler: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
    with transaction.atomic():
        response: Response = handler(request, *args, **kwargs)
        if response.status_code < 400:
            plain = request._request
            field = calls.lookup_of(view)
            model = calls.model_of(view)
            pk = kwargs.get(field) or _pk_of(field, response)
            target = plain.path if model is None else calls.target_of(model, pk)
            record(calls.WORDS[view.action], target, OK, actor_of_request(plain), network_of(plain))
            calls.done(plain)
    return response


def _pk_of(field: str, response: Response) -> object:
    """The id of a row that was made, as its URL has it."""
    data = response.data if isinstance(response.data, dict) else {}
    return data.get("id") or data.get(field) or ""
