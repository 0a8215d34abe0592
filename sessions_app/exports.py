"""Publishers with their keys and limits in the file of `manage.py export`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rest_framework.exceptions import ValidationError

from routing_app.core.exports.core_sections import KEY_FIELDS, has_material, oldest_first, shown_key
from routing_app.core.exports.section import Fields, Section, check_items
from routing_app.core.issuers.service import FIELD_OF
from routing_app.core.jwt.algorithms import KeyKind
from sessions_app.models import Limit, Publisher, PublisherKey
from sessions_app.publishers_api import (
    PublisherKeySerializer,
    PublisherLimitSerializer,
    PublisherSerializer,
)

LIMIT_FIELDS: Final = ("scope", "value", "customer", "maximum", "policy", "observe_only")
LIMIT_IDENTITY: Final = {"scope": "", "value": "", "customer": "", "observe_only": False}
"""The fields that a limit is known by again, with their defaults."""


class Publishers(Section[Publisher]):
    """Publishers. The keys and limits of one are replaced as a whole; shared secrets stay."""

    name = "publishers"
    model = Publisher
    serializer_class = PublisherSerializer
    identity = ("name",)
    more_fields = ("keys", "limits")

    def rows(self) -> Iterable[Publisher]:
        """With keys and limits."""
        return Publisher.objects.prefetch_related("keys", "limits")

    def shown(self, row: Publisher) -> Fields:
        """With keys, the oldest first, and limits in order."""
        limits = [{name: getattr(limit, name) for name in LIMIT_FIELDS} for limit in row.limits.all()]
        return {
            **super().shown(row),
            "keys": [shown_key(key) for key in oldest_first(row.keys.all())],
            "limits": sorted(limits, key=lambda one: [str(one[name]) for name in LIMIT_FIELDS]),
        }

    def state(self, row: Publisher) -> Any:
        """With what is secret."""
        return self.shown(row), [key.material for key in oldest_first(row.keys.all())]

    def make(self, fields: Fields) -> Publisher | None:
        """A publisher without the keys whose secrets are not in the file."""
        row = super().make(_plain(fields))
        assert row is not None
        self._set_lists(row, fields)
        return row

    def change(self, row: Publisher, fields: Fields) -> None:
        """Change it; keys that are named without a secret stay as they are."""
        super().change(row, _plain(fields))
        self._set_lists(row, fields)

    def _set_lists(self, row: Publisher, fields: Fields) -> None:
        stored = self.shown(row)
        if "keys" in fields and fields["keys"] != stored["keys"]:
            self._set_keys(row, check_items(fields["keys"], KEY_FIELDS, "keys"))
        if "limits" in fields and fields["limits"] != stored["limits"]:
            _set_limits(row, check_items(fields["limits"], LIMIT_FIELDS, "limits"))

    def _set_keys(self, row: Publisher, wanted: list[Fields]) -> None:
        left = oldest_first(row.keys.all())
        for number, key in enumerate(wanted):
            found = next((one for one in left if _is_same(one, key)), None)
            if found is not None:
                left.remove(found)
                _saved(
                    PublisherKeySerializer(found, data={"active": key.get("active", True)}, partial=True),
                    f"keys[{number}]",
                )
            elif has_material(key):
                serializer = PublisherKeySerializer(data=key, context={"publisher": row})
                _saved(serializer, f"keys[{number}]", publisher=row)
            else:
                name = f"{key.get('algorithm')} {key.get('kid', '')!r}"
                self.missing.append(f"{row.name}: the secret of key {name}")
        PublisherKey.objects.filter(pk__in=[one.pk for one in left]).delete()


def _plain(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if name not in Publishers.more_fields}


def _is_same(stored: PublisherKey, key: Fields) -> bool:
    """True where a key of the file is this one: by algorithm and `kid`, and by its material if it has any."""
    if (stored.algorithm, stored.kid) != (key.get("algorithm"), key.get("kid", "")):
        return False
    return not has_material(key) or key.get(FIELD_OF[KeyKind(stored.kind)]) == stored.material


def _set_limits(row: Publisher, wanted: list[Fields]) -> None:
    left = {_known_by(limit): limit for limit in row.limits.all()}
    for number, fields in enumerate(wanted):
        key = tuple(fields.get(name, default) for name, default in LIMIT_IDENTITY.items())
        found = left.pop(key, None) if all(isinstance(one, str | bool) for one in key) else None
        context = {"publisher": row}
        if found is None:
            _saved(PublisherLimitSerializer(data=fields, context=context), f"limits[{number}]", publisher=row)
        else:
            _saved(
                PublisherLimitSerializer(found, data=fields, partial=True, context=context),
                f"limits[{number}]",
            )
    Limit.objects.filter(pk__in=[limit.pk for limit in left.values()]).delete()


def _known_by(limit: Limit) -> tuple[Any, ...]:
    return tuple(getattr(limit, name) for name in LIMIT_IDENTITY)


def _saved(serializer: Any, path: str, **more: Any) -> None:
    """Save a row of a list. Raises ValidationError, with the place of the row."""
    try:
        serializer.is_valid(raise_exception=True)
        serializer.save(**more)
    except ValidationError as error:
        raise ValidationError({path: error.detail}) from None
