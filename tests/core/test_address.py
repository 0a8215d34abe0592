"""Addresses: what may be published to, and the channel-layer group of any text."""

from __future__ import annotations

from contextlib import suppress

import pytest
from channels.layers import BaseChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core import address
from routing_app.core.address import AddressError, group_name, parse
from routing_app.core.delivery.connection import new_id

pytestmark = pytest.mark.once

any_text = st.text(st.characters(), max_size=300) | st.text(st.characters(categories=["Cs"]), max_size=5)


@pytest.mark.parametrize(
    "text",
    [
        "token:abc1",
        "token:group/",
        "token:a:b",
        "token:ü €",
        "room:layout/r1",
        "room:bus/r1",
        "room:lobby/1",
        "room:trigger/1",
        "user:n::672b35cec309e5ef8469c372",
        "channel:c",
        "client:c",
        "connection:0123456789abcdef0123",
        "token:" + "x" * 506,
    ],
)
def test_an_address_of_a_publishable_kind_is_taken_as_it_is(text: str):
    assert parse(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "kind:name"),
        ("token", "kind:name"),
        ("token:", "kind:name"),
        (":", "kind:name"),
        (":x", "unknown kind"),
        ("tokens:x", "unknown kind"),
        ("Token:x", "unknown kind"),
        (" token:x", "unknown kind"),
        ("worker:0123456789abcdef", "unknown kind"),
        ("token:" + "x" * 507, "at most 512"),
        ("token:a\nb", "control characters"),
        ("token:a\x00b", "control characters"),
        ("token:\ud800", "control characters"),
        ("token:\u2028", "control characters"),
        ("customer:p/c", "no messages"),
        ("session:1", "no messages"),
        ("room:1", "room:<layout"),
        ("room:kitchen/1", "room:<layout"),
        ("room:Layout/1", "room:<layout"),
        ("room:layout", "room:<layout"),
        ("room:layout/", "room:<layout"),
        ("user:1", "user:n::<24 hex digits>"),
        ("user:e::672b35cec309e5ef8469c372", "user:n::<24 hex digits>"),
    ],
)
def test_a_value_that_is_no_address_is_refused_with_the_reason(text: str, reason: str):
    with pytest.raises(AddressError, match=reason):
        parse(text)


@pytest.mark.parametrize("form", ["n::{}", "N:Root:{}", "{}"])
def test_every_way_to_write_a_root_is_one_address(form: str):
    assert parse("user:" + form.format("672B35CEC309E5EF8469C372")) == "user:n::672b35cec309e5ef8469c372"


@given(any_text)
def test_parse_raises_nothing_but_address_error(text: str):
    for candidate in (text, f"token:{text}"):
        with suppress(AddressError):
            assert parse(candidate) == candidate


@given(any_text)
def test_the_group_of_any_text_is_legal_for_channels(text: str):
    assert BaseChannelLayer().require_valid_group_name(group_name(f"token:{text}"))


@given(any_text, any_text)
def test_different_addresses_have_different_groups(one: str, other: str):
    assert (group_name(f"token:{one}") == group_name(f"token:{other}")) is (one == other)
    assert group_name(f"token:{one}") != group_name(f"user:{one}")


def test_all_connections_of_a_worker_share_its_group():
    worker, other = "0123456789abcdef", "fedcba9876543210"
    mine = {group_name(f"connection:{new_id(worker)}") for _ in range(100)}

    assert mine == {group_name(f"worker:{worker}")}
    assert group_name(f"connection:{new_id(other)}") not in mine


def test_connection_ids_are_unique_and_name_their_worker():
    worker = "0123456789abcdef"
    ids = {new_id(worker) for _ in range(10_000)}

    assert len(ids) == 10_000
    assert {id[: address.WORKER_ID_LENGTH] for id in ids} == {worker}
