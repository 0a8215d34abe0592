"""Accounts of the events protocol, and the addresses of an event."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.password_validation import validate_password
from django.db import IntegrityError, transaction

from routing_app.core.address import Address, make
from routing_app.core.webhooks.events import EventType
from routing_app.core.webhooks.report import Event, is_wanted, report
from routing_app.events import metrics
from routing_app.events.access import ChannelRules, check_channel, check_target
from routing_app.events.credentials import issue, revoke
from routing_app.events.models import LoginToken, Root
from routing_app.events.walker_context import Visitor
from routing_app.events.wire import TargetedEvent, UserEvent, root_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest

logger = logging.getLogger(__name__)


class AlreadyExists(Exception):
    """There is a user with that e-mail address."""


# --- accounts --------------------------------------------------------------------------------------------


def register(email: str, password: str) -> User:
    """Make a user whose name is the e-mail address, in lower case.

    Raises AlreadyExists, and Django's ValidationError for a password that the validators refuse.
    """
    users = get_user_model()
    name = email.lower()
    validate_password(password, users(username=name, email=name))
    if users._default_manager.filter(email__iexact=name).exists():
        raise AlreadyExists
    try:
        with transaction.atomic():
            user = users._default_manager.create_user(username=name, email=name, password=password)
            if is_wanted(EventType.USER_REGISTERED):
                root = Root.objects.of(user).hex_id
                data = {"id": str(user.pk), "email": user.email, "root_id": root}
                report(Event(EventType.USER_REGISTERED, data))
            return user
    except IntegrityError:
        raise AlreadyExists from None


def log_in(request: HttpRequest, email: str, password: str) -> tuple[str, LoginToken] | None:
    """A token for the user with this e-mail address and password; None when they do not fit.

    Users made in the admin are found by their e-mail address too, if no other user has it.
    """
    known = "\x00" not in email  # PostgreSQL does not even look for it
    user = authenticate(request, username=_username(email.lower()), password=password) if known else None
    metrics.LOGINS.labels("failed" if user is None else "done").inc()
    return None if user is None else issue(user)


def _username(email: str) -> str:
    users = get_user_model()._default_manager
    if users.filter(username=email).exists():
        return email
    names = list(users.filter(email__iexact=email).values_list("username", flat=True)[:2])
    return names[0] if len(names) == 1 else email


def change_password(user: User, old: str, new: str) -> bool:
    """Set a new password, which voids every login token; False when the old one is wrong.

    Raises Django's ValidationError for a password that the validators refuse.
    """
    if not user.check_password(old):
        return False
    validate_password(new, user)
    with transaction.atomic():
        user.set_password(new)
        user.save(update_fields=["password"])
    return True


def log_out(jti: str) -> None:
    """Void one login token."""
    revoke(LoginToken.objects.filter(jti=jti), "logged out")


def profile(user: User, row: LoginToken) -> dict[str, Any]:
    """The `user` of the login answer; its `root_id` is the bare hex id."""
    return {
        "id": str(user.pk),
        "email": user.email,
        "root_id": Root.objects.of(user).hex_id,
        "is_activated": user.is_active,
        "is_admin": user.is_superuser,
        "expiration": int(row.expires_at.timestamp()),
        "state": row.jti[:8],
    }


# --- channels and targets --------------------------------------------------------------------------------


def targets(event: TargetedEvent, visitor: Visitor, own_channel: str, rules: ChannelRules) -> list[Address]:
    """The addresses of an event, `addressed`, where the visitor may send to all of them.

    `own_channel` is the one that the sender's socket is subscribed to, "" for none. One that may not be sent
    to keeps all from being sent.
    Raises BadReference, access.NotAllowed.
    """
    addresses = addressed(event)
    if event.type == "channel":
        for channel_id in event.ids:
            check_channel(rules, visitor, channel_id, subscribed=channel_id == own_channel)
    else:
        check_target(event.type, visitor)
    return addresses


def addressed(event: TargetedEvent) -> list[Address]:
    """The addresses of an event in the order in which it names them, repeats included.

    Raises BadReference.
    """
    if isinstance(event, UserEvent):
        return [make("user", root) for text in event.root_ids if (root := root_of(text))]
    return [make(event.type, id) for id in event.ids]
