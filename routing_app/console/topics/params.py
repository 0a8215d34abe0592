"""Params of topics, checked: a wrong one is an error of one sentence that names it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from routing_app.console.topics.topic import TopicError
from routing_app.core.monitoring.paging import Page, TooDeep

LONGEST: Final = 512
"""Characters of a string."""
USUAL_SIZE: Final = 50


def known(params: Mapping[str, Any], names: Collection[str]) -> None:
    """Raise TopicError for a param of no meaning."""
    if strange := sorted(params.keys() - set(names)):
        raise TopicError(400, f"Unknown: {', '.join(strange)[:100]}.")


def string(params: Mapping[str, Any], name: str, choices: Collection[str] = (), default: str = "") -> str:
    """A string, one of `choices` if there are any. Raises TopicError."""
    value = params.get(name, default)
    if not isinstance(value, str) or len(value) > LONGEST:
        raise TopicError(400, f"{name}: expected a string of at most {LONGEST} characters.")
    if choices and value not in choices:
        raise TopicError(400, f"{name}: expected one of {', '.join(choices)}.")
    return value


def boolean(params: Mapping[str, Any], name: str, default: bool) -> bool:
    """True or false. Raises TopicError."""
    value = params.get(name, default)
    if not isinstance(value, bool):
        raise TopicError(400, f"{name}: expected true or false.")
    return value


def page(params: Mapping[str, Any]) -> Page:
    """`page` and `size`. Raises TopicError."""
    number, size = params.get("page", 1), params.get("size", USUAL_SIZE)
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in (number, size)):
        raise TopicError(400, "page, size: expected whole numbers.")
    try:
        return Page(number, size)
    except TooDeep as error:
        raise TopicError(400, f"{error}.") from None
