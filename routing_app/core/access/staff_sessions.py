"""Sessions of the server's own pages: their users, looked up without a change to the session.

Django's `get_user` writes: it flushes a session whose password has changed, and gives it another key after
SECRET_KEY has. Both would log the browser out where the answer cannot set a cookie.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, load_backend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import User
from django.utils.crypto import constant_time_compare


def member(key: str) -> User | None:
    """The active member of staff whose session this is now; None for every other session. Uses the ORM."""
    user = user_of(key)
    return user if user is not None and user.is_staff else None


def user_of(key: str) -> User | None:
    """The active user whose session this is now; None where there is none. Uses the ORM."""
    if not key or "\0" in key:  # PostgreSQL refuses a value with a NUL
        return None
    session: dict[str, Any] = import_module(settings.SESSION_ENGINE).SessionStore(key).load()
    if session.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    user: Any = load_backend(session[BACKEND_SESSION_KEY]).get_user(session.get(SESSION_KEY))
    if user is None or not (user.is_active and _same_password(session, user)):
        return None
    return user  # type: ignore[no-any-return]


def _same_password(session: dict[str, Any], user: AbstractBaseUser) -> bool:
    """True when the password is still the one that the session began with."""
    # Fallback hashes are those by SECRET_KEY_FALLBACKS: a session survives a change of the key.
    held = session.get(HASH_SESSION_KEY) or ""
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(held, one) for one in hashes)
