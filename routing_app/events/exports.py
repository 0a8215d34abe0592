"""Rules of channels in the file of `manage.py export`."""

from __future__ import annotations

from collections.abc import Iterable

from rest_framework.exceptions import ValidationError

from routing_app.core.exports.section import Fields, Section
from routing_app.events.api import ChannelSerializer
from routing_app.events.models import Channel, Root


class Channels(Section[Channel]):
    """Rules of channels; members are written by their user names, since ids are an installation's own."""

    name = "channels"
    model = Channel
    serializer_class = ChannelSerializer
    identity = ("channel_id",)

    def rows(self) -> Iterable[Channel]:
        """With their members."""
        return Channel.objects.prefetch_related("members__user")

    def shown(self, row: Channel) -> Fields:
        """With names of users."""
        members = sorted(member.user.get_username() for member in row.members.all())
        plain = ("channel_id", "who_may_send", "who_may_listen")
        return {**{name: str(getattr(row, name)) for name in plain}, "members": members, "note": row.note}

    def make(self, fields: Fields) -> Channel | None:
        """Rules, without members that are not registered here."""
        return super().make(self._with_ids(fields))

    def change(self, row: Channel, fields: Fields) -> None:
        """Change them."""
        super().change(row, self._with_ids(fields))

    def _with_ids(self, fields: Fields) -> Fields:
        if "members" not in fields:
            return fields
        names = fields["members"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValidationError({"members": ["expected a list of user names"]})
        roots = Root.objects.filter(user__username__in=names).select_related("user")
        ids = {root.user.get_username(): root.reference for root in roots}
        self.missing += [f"{self.label(fields)}: the user {name}" for name in names if name not in ids]
        return {**fields, "members": [ids[name] for name in names if name in ids]}
