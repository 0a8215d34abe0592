"""The notifier and the registry of walkers by themselves, in this process."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured

from routing_app.core.worker import current_worker
from routing_app.events import walkers
from routing_app.events.nodes import FINDERS
from routing_app.events.notifier import notify_channels, notify_self, notify_users
from routing_app.events.walker_context import (
    PUBLIC,
    NoWalker,
    TooLate,
    TooManyNotifications,
    WalkerCall,
    current,
    plain,
    report,
    running,
)
from routing_app.events.walker_runner import WalkerFailed, run
from routing_app.events.walkers import WALKERS, node, walker
from routing_app.events.wire import BadReference


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch):
    """Walkers of a test are gone after it."""
    monkeypatch.setattr(walkers, "WALKERS", WALKERS)
    known, finders = dict(WALKERS), dict(FINDERS)
    yield
    for registry, before in ((WALKERS, known), (FINDERS, finders)):
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]


@pytest.fixture
def call():
    token = running.set(WalkerCall(PUBLIC))
    yield current()
    running.reset(token)


def test_outside_of_a_walker_there_is_no_visit_and_no_report():
    with pytest.raises(NoWalker):
        current()
    with pytest.raises(NoWalker):
        report(1)


def test_notify_self_outside_of_a_socket_does_nothing(call: WalkerCall):
    notify_self({"x": 1})

    assert call.notifications == 0


def test_a_report_is_a_copy_in_json(call: WalkerCall):
    value: dict[Any, Any] = {1: date(2026, 11, 20), "uuid": UUID(int=0), "price": Decimal("1.50"), "set": {1}}
    report(value)
    value.clear()

    assert call.reports == [
        {"1": "2026-11-20", "uuid": "00000000-0000-0000-0000-000000000000", "price": 1.5, "set": [1]}
    ]


@pytest.mark.parametrize("value", [object(), 2**70, lambda: None, {"x": "\ud800"}])
def test_a_value_without_json_form_is_refused_where_it_is_given(call: WalkerCall, value: Any):
    with pytest.raises(TypeError):
        report(value)
    with pytest.raises(TypeError):
        notify_channels(["c"], value)


def test_times_keep_their_zone():
    assert plain(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05+00:00"


def test_a_wrong_root_notifies_nobody():
    with pytest.raises(BadReference):
        notify_users(["n::" + "0" * 24, "bogus"], {})


def test_notifications_of_one_run_are_counted_by_receiver(call: WalkerCall, settings):
    settings.EVENTS_WALKER_NOTIFICATIONS = 3
    notify_channels(["a", "b", "c"], {})

    with pytest.raises(TooManyNotifications):
        notify_channels(["d"], {})


@pytest.mark.django_db(transaction=True)
def test_without_redis_a_process_without_sockets_says_that_it_reaches_nobody(
    settings, caplog: pytest.LogCaptureFixture
):
    from channels.layers import channel_layers

    if settings.REDIS_URL:
        expected = []
    else:
        expected = ["nobody was reached: this process serves no clients, and REDIS_URL is not set"]
    channel_layers.backends = {}
    with caplog.at_level(logging.WARNING, "routing_app.core.publishing"):
        notify_channels(["c"], {})

    assert [record.message for record in caplog.records] == expected


async def test_on_a_loop_the_notifier_publishes_and_does_not_wait(monkeypatch: pytest.MonkeyPatch):
    published: list[tuple[tuple[str, ...], object]] = []
    hub = current_worker().hub
    monkeypatch.setattr(
        hub,
        "publish_soon",
        lambda publication: published.append((publication.addresses, publication.message)),
    )

    notify_channels(["a", "b"], {"n": 1})  # nothing is awaited: it has happened when this returns

    assert published == [(("channel:a",), {"n": 1}), (("channel:b",), {"n": 1})]


# --- the decorator ----------------------------------------------------------------------------------------


def test_a_walker_is_still_its_function():
    @walker
    def add(a: int, b: int = 2) -> int:
        return a + b

    assert add(1) == 3
    assert WALKERS["add"].methods == ("post",)
    assert WALKERS["add"].values({"a": "4"}) == {"a": 4, "b": 2}


def test_fields_may_have_names_that_pydantic_uses():
    @walker(methods=["websocket"])
    def odd(json: int, copy: int, schema: int, self: int) -> None:
        """Nothing."""

    fields = {"json": 1, "copy": 2, "schema": 3, "self": 4}
    assert WALKERS["odd"].values(fields) == fields


@pytest.mark.parametrize("name", ["model_config", "_hidden"])
def test_names_that_pydantic_needs_are_no_fields(name: str):
    scope: dict[str, Any] = {}
    exec(f"def some({name}: int) -> None: ...", scope)
    with pytest.raises(ImproperlyConfigured, match=name):
        walker(scope["some"])


def test_a_parameter_without_a_type_is_no_field():
    with pytest.raises(ImproperlyConfigured, match="the field a has no type"):

        @walker
        def untyped(a) -> None:
            """Nothing."""


def test_arguments_that_cannot_be_named_are_no_fields():
    with pytest.raises(ImproperlyConfigured, match="cannot be a field"):

        @walker
        def many(*args: int) -> None:
            """Nothing."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["websocket", "fetch"]}, "unknown method fetch"),
        ({"path": "/{b}"}, "no field b"),
        ({"as_query": ["b"]}, "no field b"),
    ],
)
def test_options_that_make_no_sense_stop_the_start(options: dict[str, Any], message: str):
    with pytest.raises(ImproperlyConfigured, match=message):

        @walker(**options)
        def some(a: int) -> None:
            """Nothing."""


def test_a_name_can_be_taken_once():
    def make() -> Callable[[], None]:
        def twice() -> None:
            """Nothing."""

        return twice

    walker(make())
    twice = make()
    walker(twice)  # the same module again, as a reload imports it
    twice = make()
    twice.__module__ = "somewhere.else"
    with pytest.raises(
        ImproperlyConfigured, match=r"walker twice: in .*test_notifier.* and in somewhere\.else"
    ):
        walker(twice)


def test_a_node_name_can_be_taken_once():
    node("Thing")(lambda hex_id: None)

    for name in ("Thing", "", "a:b"):
        with pytest.raises(ImproperlyConfigured):
            node(name)(lambda hex_id: hex_id)


# --- running ----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_a_walker_that_goes_on_after_its_time_limit_notifies_nobody(settings):
    settings.EVENTS_WALKER_SECONDS = 0.05
    may_go_on, has_ended = threading.Event(), threading.Event()
    raised: list[Exception] = []

    @walker
    def dawdle() -> None:
        may_go_on.wait(60)
        try:
            notify_channels(["c"], {})
        except TooLate as error:
            raised.append(error)
        has_ended.set()

    with pytest.raises(WalkerFailed, match="TimeoutError"):
        await run(WALKERS["dawdle"], {}, WalkerCall(PUBLIC))
    may_go_on.set()
    await asyncio.to_thread(has_ended.wait, 60)

    assert len(raised) == 1
