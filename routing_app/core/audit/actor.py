"""Actors: who does something, by the credential of a request, or on the command line."""

from __future__ import annotations

import os
import pwd
from typing import Any, Final, NamedTuple

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.models import ApiKey
from routing_app.core.models.audit import ActorKind

ATTRIBUTE: Final = "audit_actor"


class Actor(NamedTuple):
    """The kind of a credential, and its name among those of this kind; never the credential itself."""

    kind: ActorKind
    name: str = ""


NOBODY: Final = Actor(ActorKind.NOBODY)


def name_of_key(name: str, prefix: str) -> str:
    """The name of an API key as an actor: several keys may have one name, the prefix tells them apart."""
    return f"{name} ({prefix})"


def actor_of(who: Any) -> Actor:
    """The actor that an API key, a grant or a user is; NOBODY for anything else."""
    match who:
        case ApiKey():
            return Actor(ActorKind.KEY, name_of_key(who.name, who.prefix))
        case Grant(kind=GrantKind.KEY):
            return Actor(ActorKind.KEY, name_of_key(who.identity, who.key_prefix))
        case Grant(kind=GrantKind.TOKEN):
            return Actor(ActorKind.TOKEN, f"{who.issuer}/{who.subject}")
        case Grant(kind=GrantKind.STAFF):
            return Actor(ActorKind.USER, who.identity)
        case AbstractBaseUser():
            return Actor(ActorKind.USER, who.get_username())
    return NOBODY


def presented(request: HttpRequest, who: ApiKey | Grant | AbstractBaseUser) -> None:
    """Note whose valid credential a request has, for a view that no authentication of REST Framework sees."""
    request.__dict__[ATTRIBUTE] = who


def actor_of_request(request: HttpRequest) -> Actor:
    """The actor of a request that a view has answered. Uses the ORM where the user is not loaded yet."""
    if (who := request.__dict__.get(ATTRIBUTE)) is not None:
        return actor_of(who)
    # REST Framework leaves on Django's request what it has found out; Django has a lazy user there.
    if (actor := actor_of(request.__dict__.get("auth"))) is not NOBODY:
        return actor
    user: Any = request.__dict__.get("user")
    if user is None or not getattr(user, "is_authenticated", False):
        return NOBODY
    return actor_of(getattr(user, "_wrapped", user))


def command_line() -> Actor:
    """The user of the operating system whose process this is."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # as in a container that runs by a number of its own
        name = str(number)
    return Actor(ActorKind.COMMAND, name)
