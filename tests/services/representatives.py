"""Parameters of which each pass of `make test` needs the whole list only once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def all_once(values: Iterable[Any], *both: str) -> list[Any]:
    """The values as parameters: all in the first pass, and those named `both` in the second one, too.

    For what neither store nor layer knows of, such as the version of a client.
    """
    return [value if str(value) in both else pytest.param(value, marks=pytest.mark.once) for value in values]
