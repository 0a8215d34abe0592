"""May this request do that? The one answer for views that need nothing of Django's request cycle.

A valid API key needs the scope of the call, and an access token its address. Without either, a staff session
needs a permission of Django; where it changes something, its CSRF token is checked as Django's own middleware
checks it. Errors are those of REST Framework.
"""

from __future__ import annotations

import logging

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import CSRFCheck
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied

from routing_app.core.access import staff, staff_sessions
from routing_app.core.access.bearer import presented_key, presented_token
from routing_app.core.access.grants import Grant
from routing_app.core.audit.actor import presented
from routing_app.core.database import query
from routing_app.core.issuers import access_tokens
from routing_app.core.jwt.token import TokenRefused
from routing_app.core.models import Scope
from routing_app.core.rest.auth import WRONG_KEY, WRONG_TOKEN, needed
from routing_app.core.worker import current_worker

logger = logging.getLogger(__name__)


class ScopeMissing(PermissionDenied):
    """The API key is valid, and lacks the scope of the call."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(needed(scope))


class NotForTokens(PermissionDenied):
    """The access token is valid, and no access token may do that."""


class NotStaff(PermissionDenied):
    """The session is of a user who is not staff."""


class PermissionMissing(PermissionDenied):
    """The session is of a member of the staff who lacks the permission of the call."""

    def __init__(self, permission: str) -> None:
        super().__init__()
        self.permission = permission


class CSRFFailed(PermissionDenied):
    """The session's CSRF token is missing or wrong; `reason` is Django's."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"CSRF Failed: {reason}")
        self.reason = reason


async def authorize(
    request: HttpRequest, scope: Scope, plain: str = "", permission: str = "", tokens: bool = False
) -> Grant:
    """The rights of the caller, who may do what `scope` names, at the addresses that the grant covers.

    `plain` is a key that is presented in no common place; `permission` is what a member of the staff needs,
    by default that of the scope (`staff.PERMISSIONS`). `tokens`: the call is also for access tokens, which
    have patterns in place of scopes.

    Raises NotAuthenticated, AuthenticationFailed (a wrong key or token), ScopeMissing, NotForTokens,
    NotStaff, PermissionMissing, CSRFFailed, and the errors of BACKING_SERVICES.
    """
    plain = plain or presented_key(request)
    if token := presented_token(request, plain):
        of_token = await _of_token(token)
        presented(request, of_token)
        if not tokens:
            raise NotForTokens
        return of_token
    if not plain:
        return await query(_authorize_session, request, scope, permission or staff.PERMISSIONS[scope])
    grant = await current_worker().keys.find(plain)
    if grant is None:
        raise _as_bearer(AuthenticationFailed(WRONG_KEY))
    presented(request, grant)
    if scope not in grant.scopes:
        raise ScopeMissing(scope)
    return grant


async def _of_token(token: str) -> Grant:
    try:
        return await access_tokens.verify(token)
    except TokenRefused as refused:
        logger.info("access token refused: %s", refused)
        raise _as_bearer(AuthenticationFailed(WRONG_TOKEN)) from None


def _authorize_session(request: HttpRequest, scope: Scope, permission: str) -> Grant:
    """A browser sends its session along wherever a page of another site wants it: hence CSRF."""
    session = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    user = staff_sessions.user_of(session)
    if user is None:
        raise _as_bearer(NotAuthenticated())
    presented(request, user)
    if scope != Scope.READ:
        check = CSRFCheck(lambda request: HttpResponse())
        check.process_request(request)
        if reason := check.process_view(request, None, (), {}):  # type: ignore[arg-type]
            raise CSRFFailed(str(reason))
    if not user.is_staff:
        raise NotStaff
    if not user.has_perm(permission):
        raise PermissionMissing(permission)
    return staff.grant_of(user, session)


def _as_bearer(error: NotAuthenticated | AuthenticationFailed) -> NotAuthenticated | AuthenticationFailed:
    """An error that says in `WWW-Authenticate` how a key is presented."""
    error.auth_header = "Bearer"  # type: ignore[union-attr]  # as REST Framework's own views mark it
    return error
