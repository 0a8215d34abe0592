"""Rows that every worker knows: all are told of a change once it is committed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Final, TypeVar

from django.db import transaction
from django.db.models import Model
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from routing_app.core.models import Scope
from routing_app.core.rest.views import OfBroker

M = TypeVar("M", bound=Model)

ALL_ADMIN: Final = dict.fromkeys(("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"), Scope.ADMIN)
"""The `scopes` of a view all of which needs the scope admin."""
NO_STORE: Final = {"Cache-Control": "no-store"}
"""Headers of an answer with a secret."""


class KnownRows(OfBroker, ModelViewSet[M]):
    """The base of their views."""

    lookup_value_regex = "[0-9]+"

    @abstractmethod
    def tell(self) -> None:
        """Have every worker read the rows."""

    def perform_create(self, serializer: Any) -> None:
        """Make it, and tell."""
        serializer.save()
        self._tell_after_commit()

    def perform_update(self, serializer: Any) -> None:
        """Change it, and tell."""
        serializer.save()
        self._tell_after_commit()

    def perform_destroy(self, instance: M) -> None:
        """Delete it, and tell."""
        super().perform_destroy(instance)
        self._tell_after_commit()

    def _tell_after_commit(self) -> None:
        # Robust: what is committed holds, and is read by every worker, also where it cannot be told.
        transaction.on_commit(self.tell, robust=True)


class RowsWithSecret(KnownRows[M]):
    """The base of views of rows with a secret, `secret`, that is shown when it is made."""

    scopes: ClassVar = ALL_ADMIN

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make it, and show its secret this once."""
        serializer: Any = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        self.perform_create(serializer)
        made = {**serializer.data, "secret": serializer.instance.secret}
        return Response(made, status=status.HTTP_201_CREATED, headers=NO_STORE)
