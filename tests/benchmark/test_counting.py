"""The benchmark counts what arrives: one delivery too few or too many is noticed, and spoils the figure."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

import pytest
from websockets.sync.server import ServerConnection, serve

from bench import plot
from bench.load import Dialect, Load, LoadError
from bench.rounds import Outcome, measure
from bench.rows import sections
from bench.section import Column, Reading, Results, Row, Section, Unavailable, at_least, ratio

pytestmark = pytest.mark.once
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) on this machine")

RECEIVERS = 5
SECONDS = 2.0
"""Of each phase: enough for more than a handful of messages on a busy machine."""
Copies = Callable[[int, int], int]
"""How often a message, by its number, is sent to a receiver, by its number."""


@contextmanager
def broadcaster(copies: Copies) -> Iterator[int]:
    """A WebSocket server that sends every message to all `RECEIVERS`, once they are there; the port."""
    sockets: list[ServerConnection] = []
    numbers = iter(range(10**9))
    lock, all_are_there = threading.Lock(), threading.Barrier(RECEIVERS, timeout=150)

    def handle(socket: ServerConnection) -> None:
        sockets.append(socket)
        all_are_there.wait()
        for message in socket:
            with lock:
                number = next(numbers)
                for receiver, each in enumerate(sockets):
                    for _ in range(copies(number, receiver)):
                        each.send(message)

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


def flood(copies: Copies) -> str:
    with broadcaster(copies) as port, Load(port, Dialect("/")) as load:
        load.open(RECEIVERS)
        phase = load.flood(SECONDS, 4)
        load.close_sockets()
    assert phase.sent > 4
    return phase.uneven


@needs_compiler
def test_whole_deliveries_are_no_fault():
    assert flood(lambda message, receiver: 1) == ""


@needs_compiler
def test_one_message_that_one_receiver_does_not_get_is_a_fault():
    fault = flood(lambda message, receiver: 0 if (message, receiver) == (3, 2) else 1)

    sent, expected = (int(number.replace(",", "")) for number in fault.split()[1::2])
    assert fault.startswith("INCOMPLETE: ")
    assert sent == expected - 1


@needs_compiler
def test_one_message_that_one_receiver_gets_twice_is_a_fault():
    fault = flood(lambda message, receiver: 2 if (message, receiver) == (3, 2) else 1)

    assert fault.startswith("INCOMPLETE: ")


@needs_compiler
def test_a_message_too_many_here_does_not_make_up_for_one_too_few_there():
    wrong = {(3, 1): 0, (3, 2): 2}

    assert flood(lambda message, receiver: wrong.get((message, receiver), 1)).endswith(" each")


@needs_compiler
@pytest.mark.parametrize("strays", [0, 1], ids=["each to its own receiver", "one to another receiver"])
def test_in_pairs_a_message_for_one_receiver_that_another_gets_is_a_fault(strays: int):
    sockets: dict[str, ServerConnection] = {}
    numbers = iter(range(10**9))
    lock, all_are_there = threading.Lock(), threading.Barrier(2 * RECEIVERS, timeout=150)

    def handle(socket: ServerConnection) -> None:
        assert socket.request is not None
        sockets[socket.request.path] = socket
        all_are_there.wait()  # each publisher, too
        for message in socket:
            assert isinstance(message, str)
            name, _, text = message.partition("|")
            with lock:
                astray = next(numbers) in range(3, 3 + strays)
                sockets[f"/{(int(name) + astray) % RECEIVERS}"].send(text)

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with Load(server.socket.getsockname()[1], Dialect("/{n}", before="{n}|")) as load:
            load.open(RECEIVERS)
            load.open_publishers(RECEIVERS, server.socket.getsockname()[1], "/{n}")
            phase = load.pairs(SECONDS, RECEIVERS)
        server.shutdown()
        thread.join()

    assert phase.sent > RECEIVERS
    assert bool(phase.fault) is bool(strays)


@needs_compiler
def test_a_lost_connection_is_a_fault():
    def handle(socket: ServerConnection) -> None:
        for message in socket:
            socket.send(message)
            socket.close()

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with Load(server.socket.getsockname()[1], Dialect("/")) as load:
            load.open(1)
            phase = load.echo(SECONDS, 1)
        server.shutdown()
        thread.join()

    assert phase.uneven == "INCOMPLETE: 1 connections lost"


@needs_compiler
def test_a_refused_handshake_is_an_error():
    def refuse(connection: ServerConnection, request: object) -> object:
        return connection.respond(403, "no")

    with serve(lambda socket: None, "127.0.0.1", 0, process_request=refuse) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with (
            Load(server.socket.getsockname()[1], Dialect("/")) as load,
            pytest.raises(LoadError, match="1 conn"),
        ):
            load.open(1)
        server.shutdown()
        thread.join()


class FakeBench:
    """As much of `Bench` as rounds look at; `disturbances` are those of the readings to come."""

    def __init__(self, *disturbances: float, quick: bool = False) -> None:
        self.disturbance = 0.0
        self.quick = quick
        self.disturbances = list(disturbances)


def section(*rows: Row) -> Section:
    return Section("fake", "Fake", (Column("rate", "per second"),), rows)


def rounds_of(*readings: Reading | Exception, disturbances: tuple[float, ...] = ()) -> Outcome:
    waiting = list(readings)

    def read(bench: FakeBench) -> Reading:
        if bench.disturbances:
            bench.disturbance = bench.disturbances.pop(0)
        reading = waiting.pop(0)
        if isinstance(reading, Exception):
            raise reading
        return reading

    rounds = len(readings) - len([part for part in disturbances if part > 0.15])
    return measure(section(Row("row", read)), FakeBench(*disturbances), rounds)  # type: ignore[arg-type]


def test_the_median_counts():
    assert rounds_of({"rate": 9.0}, {"rate": 1.0}, {"rate": 2.0}).results == {"row": {"rate": 2.0}}


def test_one_incomplete_run_spoils_the_figure():
    outcome = rounds_of({"rate": 9.0}, {"rate": "INCOMPLETE: 1 of 2"}, {"rate": 2.0})

    assert outcome.results == {"row": {"rate": "INCOMPLETE: 1 of 2"}}


def test_a_row_that_cannot_be_measured_says_why():
    assert rounds_of(Unavailable("npm not installed")).missing == {"row": "npm not installed"}


def test_a_disturbed_run_is_made_again_and_does_not_count():
    outcome = rounds_of({"rate": 1.0}, {"rate": 9.0}, disturbances=(0.5, 0.1))

    assert (outcome.results, outcome.disturbance) == ({"row": {"rate": 9.0}}, 0.1)


def test_an_incomplete_figure_breaks_its_promise():
    results: Results = {"a": {"rate": "INCOMPLETE: 1 of 2"}, "b": {"rate": 1.0}}

    assert [mark.holds for mark in at_least("a", ratio(results, "rate", "a", "b"), 5)] == [False]
    assert at_least("a", ratio(results, "rate", "a", "missing"), 5) == []


def test_the_plot_is_svg_and_names_every_row():
    rows: Results = {"one & only": {"a": 10.0, "b": 2e6}, "other": {"a": "INCOMPLETE: 1 of 2", "b": 3.0}}
    svg = ElementTree.fromstring(plot.bars("Title", {"a": "A", "b": "B"}, rows))

    texts = {element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert {"one & only", "other", "2,000,000", "INCOMPLETE: 1 of 2"} <= texts


def test_every_section_has_its_own_name_and_rows():
    found = sections()

    assert len({one.name for one in found}) == len(found) >= 9
    for one in found:
        assert len({row.label for row in one.rows}) == len(one.rows) > 0
        assert any(row.quick for row in one.rows)
