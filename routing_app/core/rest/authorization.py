"""May this request do that? The one answer for views that need nothing of Django's request cycle.

A valid API key needs the scope of the call. Without a key, a staff session may do everything; where it
changes something, its CSRF token is checked as Django's own middleware checks it. Errors are those of REST
Framework.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import CSRFCheck
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied

from routing_app.core.access import masking, staff_sessions
from routing_app.core.access.bearer import presented_key
from routing_app.core.access.masking import SecretAccess
from routing_app.core.database import query
from routing_app.core.models import ApiKey, Scope
from routing_app.core.rest.auth import WRONG_KEY
from routing_app.core.worker import current_worker


class ScopeMissing(PermissionDenied):
    """The API key is valid, and lacks the scope of the call."""


class NotStaff(PermissionDenied):
    """The session is of a user who is not staff."""


class CSRFFailed(PermissionDenied):
    """The session's CSRF token is missing or wrong; `reason` is Django's."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"CSRF Failed: {reason}")
        self.reason = reason


@dataclass(slots=True)  # never changed; `frozen` would take a microsecond for each
class Caller:
    """The holder of a key, or, where `key` is None, a member of the staff."""

    name: str
    key: ApiKey | None = None
    user: User | None = None

    @property
    def id(self) -> str:
        """The key or the user, among all callers."""
        return f"key {self.key.pk}" if self.key is not None else f"user {self.name}"

    def secret_access(self) -> SecretAccess:
        """The secrets that the caller sees whole. Uses the ORM for a user."""
        return masking.of_scopes(self.key.scopes) if self.key is not None else masking.of_user(self.user)


async def authorize(request: HttpRequest, scope: str, plain: str = "") -> Caller:
    """The caller, who may do what `scope` names; `plain` is a key that is presented in no common place.

    Raises NotAuthenticated, AuthenticationFailed (a wrong key), ScopeMissing, NotStaff, CSRFFailed, and the
    errors of a database that is down.
    """
    plain = plain or presented_key(request)
    if not plain:
        return await query(_authorize_session, request, scope)
    key = await current_worker().keys.find(plain)
    if key is None:
        raise _as_bearer(AuthenticationFailed(WRONG_KEY))
    if scope not in key.scopes:
        raise ScopeMissing
    return Caller(key.name, key)


def _authorize_session(request: HttpRequest, scope: str) -> Caller:
    """A browser sends its session along wherever a page of another site wants it: hence CSRF."""
    user = staff_sessions.user_of(request.COOKIES.get(settings.SESSION_COOKIE_NAME, ""))
    if user is None:
        raise _as_bearer(NotAuthenticated())
    if scope != Scope.READ:
        check = CSRFCheck(lambda request: HttpResponse())
        check.process_request(request)
        if reason := check.process_view(request, None, (), {}):  # type: ignore[arg-type]
            raise CSRFFailed(str(reason))
    if not user.is_staff:
        raise NotStaff
    return Caller(str(user), user=user)


def _as_bearer(error: NotAuthenticated | AuthenticationFailed) -> NotAuthenticated | AuthenticationFailed:
    """An error that says in `WWW-Authenticate` how a key is presented."""
    error.auth_header = "Bearer"  # type: ignore[union-attr]  # as REST Framework's own views mark it
    return error
