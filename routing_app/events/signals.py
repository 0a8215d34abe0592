"""Consequences of changed rows: roots for new users, revocation, rules told to every worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete
from django.dispatch import receiver

from routing_app.events import access
from routing_app.events.credentials import revoke_all
from routing_app.events.models import Channel, Root

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@receiver(post_save, sender=settings.AUTH_USER_MODEL)
def user_saved(instance: User, created: bool, raw: bool = False, **kwargs: Any) -> None:
    """Every user has a root; one that is not active any more has no valid token."""
    if created and not raw:
        Root.objects.of(instance)
    if not created and not instance.is_active:
        revoke_all(instance, "user deactivated")


@receiver(pre_delete, sender=settings.AUTH_USER_MODEL)
def user_goes(instance: User, **kwargs: Any) -> None:
    """The sockets of a deleted user lose it."""
    revoke_all(instance, "user deleted")


@receiver(post_save, sender=Channel)
@receiver(post_delete, sender=Channel)
@receiver(m2m_changed, sender=Channel.members.through)
def rules_changed(**kwargs: Any) -> None:
    """Rules hold on every worker at once."""
    access.announce()
