"""Publications survive the channel layer, whatever JSON they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.cluster.redis_layer import RedisLayer
from routing_app.core.delivery.publication import Publication

pytestmark = pytest.mark.once

LAYER = RedisLayer()

texts = st.text(max_size=20)
messages = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)


@given(st.lists(texts, min_size=1, max_size=5), messages, texts, texts, texts, texts)
def test_pack_and_unpack_are_inverse_through_the_redis_layer(addresses, message, event, sender, exclude, id):
    publication = Publication(tuple(addresses), message, event, sender, exclude, id)

    [packed] = LAYER.deserialize(LAYER.serialize({"items": [publication.pack()]}))["items"]
    back = Publication.unpack(packed)

    for name in Publication.__slots__:
        assert getattr(back, name) == getattr(publication, name)
