"""The file: YAML with plain values, read strictly and with its lines, and written the same way each time.

Of YAML 1.1's words for other types only `true`, `false`, `null` and numbers in decimal count: `on: publish`
has the key `on`, and a time is a string.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from routing_app.core.exports.section import Fields, Section, Wanted

VERSION_KEY: Final = "switchboard"
VERSION: Final = 1
LINE_ENDS: Final = "\r\x85\u2028\u2029"
HEAD: Final = "# What operators have set up; `manage.py import FILE` applies it. See docs/export.md.\n"
Document = dict[str, list[Wanted]]
"""Name of a section -> its rows."""


class DocumentProblem(ValueError):
    """A file that cannot be read; the message begins with a line."""


class _Loader(yaml.SafeLoader):
    """Plain values only."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node. An alias would be one value in two places, and a file of some lines may stand for
        millions."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise DocumentProblem(f"{mark.line + 1}: aliases (*name) are not taken")
        return super().compose_node(parent, index)


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", ["n", "~", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?", "-+0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})\\Z"), list(_first))


class _Dumper(yaml.SafeDumper):
    """Keys in PEM form as blocks, everything else on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value wherever it is."""
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if text.startswith("-----BEGIN ") else None
    if any(one in text for one in LINE_ENDS):  # which PyYAML writes as they are, and reads as blanks
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def dump(sections: Mapping[str, Sequence[Fields]]) -> str:
    """The file. Rows are sorted by their values, so that the same rows are the same file."""
    ordered = {
        name: sorted(rows, key=lambda row: json.dumps(row, sort_keys=True)) for name, rows in sections.items()
    }
    text: str = yaml.dump(
        {VERSION_KEY: VERSION, **ordered},
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=math.inf,
    )
    return HEAD + text


def load(text: str, sections: Mapping[str, type[Section[Any]]]) -> Document:
    """The rows of a file. Raises DocumentProblem."""
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that YAML does not take
        at = getattr(error, "position", 0)
        raise DocumentProblem(f"{text.count(chr(10), 0, at) + 1}: a character that is not text") from None
    try:
        try:
            root = loader.get_single_node()
            return _document(loader, root, sections)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentProblem(f"{mark.line + 1 if mark else 1}: {error.problem}") from None
    except RecursionError:
        raise DocumentProblem("1: too many lists in each other") from None
    except DocumentProblem:
        raise
    except (ValueError, OverflowError):  # PyYAML's own, for `"\\UFFFFFFFF"` and a `%YAML` of many digits
        raise DocumentProblem(f"{loader.line + 1}: a character or a number that cannot be") from None


def _document(loader: _Loader, root: Any, sections: Mapping[str, type[Section[Any]]]) -> Document:
    if not isinstance(root, yaml.MappingNode):
        raise DocumentProblem(f"1: expected `{VERSION_KEY}: {VERSION}` and lists of rows")
    pairs = _pairs(loader, root)
    version, line = _popped(loader, pairs)
    if version != VERSION or isinstance(version, bool):
        raise DocumentProblem(f"{line}: expected `{VERSION_KEY}: {VERSION}`")
    found: Document = {}
    for name, node in pairs.items():
        if name not in sections:
            expected = ", ".join(sections)
            raise DocumentProblem(f"{_line(node)}: `{name}` is unknown; expected some of {expected}")
        if not isinstance(node, yaml.SequenceNode):
            raise DocumentProblem(f"{_line(node)}: {name}: expected a list of rows")
        found[name] = [_row(loader, name, one) for one in node.value]
    return found


def _popped(loader: _Loader, pairs: dict[str, Any]) -> tuple[Any, int]:
    node = pairs.pop(VERSION_KEY, None)
    return (None, 1) if node is None else (_value(loader, node), _line(node))


def _row(loader: _Loader, name: str, node: Any) -> Wanted:
    if not isinstance(node, yaml.MappingNode):
        raise DocumentProblem(f"{_line(node)}: {name}: expected a row with fields")
    return Wanted(_value(loader, node), _line(node))


def _value(loader: _Loader, node: Any) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {name: _value(loader, one) for name, one in _pairs(loader, node).items()}
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, one) for one in node.value]
    try:
        value = loader.construct_object(node)
    except (ArithmeticError, AttributeError, LookupError, ValueError):  # PyYAML's, of `!!int x` or `!!bool x`
        raise DocumentProblem(f"{_line(node)}: a value that is not of its tag, or too long") from None
    if not isinstance(value, str | int | float | None):
        raise DocumentProblem(f"{_line(node)}: a tag that is not taken")
    if isinstance(value, float) and not math.isfinite(value):
        raise DocumentProblem(f"{_line(node)}: a number that is too large")
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= one <= "\udfff" for one in value)):
        raise DocumentProblem(f"{_line(node)}: a character that cannot be stored")
    return value


def _pairs(loader: _Loader, node: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        name = _value(loader, key)
        if not isinstance(name, str):
            raise DocumentProblem(f"{_line(key)}: expected a name, but got {name!r}")
        if name in found:
            raise DocumentProblem(f"{_line(key)}: `{name}` is there twice")
        found[name] = value
    return found


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1
