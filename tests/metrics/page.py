"""A server's page of metrics, as Prometheus reads it."""

from __future__ import annotations

import http.client

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.services.ports import LOOPBACK
from tests.services.server import Server
from tests.services.waiting import wait_until


class Page:
    """`GET /metrics` of a server."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def samples(self) -> list[Sample]:
        """All samples of the page."""
        connection = http.client.HTTPConnection(LOOPBACK, self.server.port, timeout=60)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of a name that have these labels, among others; 0 for none."""
        return sum(
            one.value for one in self.samples() if one.name == name and labels.items() <= one.labels.items()
        )

    def reaches(self, least: float, name: str, **labels: str) -> None:
        """Wait until a value is there: other workers' histograms are written once a second."""
        wait_until(lambda: self.value(name, **labels) >= least)
