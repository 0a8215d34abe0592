"""A password change ends every login, however it came about: over REST, in the admin, by a command.

Django tells its password validators of each change, and of nothing else: an upgrade of the hash is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routing_app.events.credentials import revoke_all

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class RevokeOnChange:
    """A password validator that finds nothing wrong, and revokes when a password has changed."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Every password is fine here."""

    def password_changed(self, password: str, user: User | None = None) -> None:
        """Void all login tokens of the user."""
        if user is not None:
            revoke_all(user, "password changed")

    def get_help_text(self) -> str:
        """Shown with the rules for passwords."""
        return "A new password ends all sessions of the user."
