"""The file: read strictly, with lines, and written so that it is read as the same values."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from routing_app.core.exports.applying import sections
from routing_app.core.exports.document import DocumentProblem, dump, load

pytestmark = pytest.mark.once

STRINGS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(STRINGS, VALUES, max_size=4), max_size=3)
ODD = [{"on": "yes", "1": "1", "null": "2027-12-31", "<<": "=", "~": "0x1F", "a": "1_000", "b": "12:30:45"}]
KEY = [{"pem": "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n", "x": "-----BEGIN \n b \x85"}]


def loaded(text: str) -> dict[str, Any]:
    """The rows of a file, without lines."""
    return {name: [row.fields for row in rows] for name, rows in load(text, sections()).items()}


@given(ROWS)
@example(ODD)
@example(KEY)
def test_what_is_written_is_read_as_the_same(rows: list[dict[str, Any]]) -> None:
    text = dump({"rules": rows})
    again = loaded(text)

    assert sorted(map(repr, again["rules"])) == sorted(map(repr, rows))
    assert dump(again) == text


@given(ROWS)
@example(ODD)
@example(KEY)
def test_other_readers_of_yaml_read_the_same(rows: list[dict[str, Any]]) -> None:
    text = dump({"rules": rows})

    assert yaml.safe_load(text)["rules"] == loaded(text)["rules"]


def test_rows_are_sorted_so_that_the_same_rows_are_the_same_file() -> None:
    one, two = {"name": "a"}, {"name": "b"}

    assert dump({"rules": [one, two]}) == dump({"rules": [two, one]})


def test_each_row_has_the_line_where_it_begins() -> None:
    rows = load("switchboard: 1\nrules:\n- pattern: a\n\n- {pattern: b}\nkeys: []\n", sections())

    assert [row.line for row in rows["rules"]] == [3, 5]
    assert rows["keys"] == []


def test_words_for_other_types_of_yaml_are_strings() -> None:
    text = (
        "switchboard: 1\nrules:\n- {on: off, at: 2027-12-31, n: 010, yes: no, t: true, f: 1.5, i: -3, z: }\n"
    )

    assert loaded(text)["rules"] == [
        {"on": "off", "at": "2027-12-31", "n": "010", "yes": "no", "t": True, "f": 1.5, "i": -3, "z": None}
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: expected `switchboard: 1`"),
        ("- a\n", "1: expected `switchboard: 1`"),
        ("rules: []\n", "1: expected `switchboard: 1`"),
        ("switchboard: 2\n", "1: expected `switchboard: 1`"),
        ("switchboard: true\n", "1: expected `switchboard: 1`"),
        ("switchboard: 1\nrooms: []\nrule: []\n", "3: `rule` is unknown; expected some of rules, limits,"),
        ("switchboard: 1\nrules: {}\n", "2: rules: expected a list of rows"),
        ("switchboard: 1\nrules:\n- one\n", "3: rules: expected a row with fields"),
        ("switchboard: 1\nrules:\n- pattern: a\n  pattern: b\n", "4: `pattern` is there twice"),
        ("switchboard: 1\nrules: []\nrules: []\n", "3: `rules` is there twice"),
        ("switchboard: 1\nrules:\n- 1: a\n", "3: expected a name, but got 1"),
        ("switchboard: 1\nrules:\n- &a {pattern: b}\n- *a\n", "4: aliases (*name) are not taken"),
        (
            "switchboard: 1\nrules:\n- pattern: !!python/object:os.system x\n",
            "3: could not determine a constr",
        ),
        ("switchboard: 1\nrules:\n- pattern: !!binary aGk=\n", "3: a tag that is not taken"),
        ("switchboard: 1\nrules:\n- {pattern: [}\n", "3: "),
        ("switchboard: 1\nrules:\n- pattern: a\n\tb: c\n", "4: "),
        ("switchboard: 1\n---\nswitchboard: 1\n", "2: but found another document"),
        ("switchboard: 1\nrules:\n- pattern: \x07\n", "3: a character that is not text"),
        ('switchboard: 1\nrules:\n- pattern: "\\0"\n', "3: a character that cannot be stored"),
        ('switchboard: 1\nrules:\n- pattern: "\\ud800"\n', "3: a character that cannot be stored"),
        ("switchboard: 1\nrules:\n- rate: 1" + "0" * 400 + ".0\n", "3: a number that is too large"),
        ("switchboard: 1\nrules:\n- " + "[" * 5000 + "\n", "1: too many lists in each other"),
    ],
)
def test_a_file_that_cannot_be_read_names_the_line(text: str, problem: str) -> None:
    with pytest.raises(DocumentProblem) as raised:
        load(text, sections())
    assert str(raised.value).startswith(problem)
