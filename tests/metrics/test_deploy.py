"""The board of Grafana and the alerts of Prometheus are about metrics that exist, and do what they say."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from routing_app.core.described import LISTED, Described
from tests.documents.blocks import ALL
from tests.services.prometheus import find_promtool

pytestmark = pytest.mark.once

DEPLOY = Path(settings.BASE_DIR) / "deploy"
RULES = DEPLOY / "prometheus"
BY_PROMETHEUS = {"instance", "job", "le", "alertname"}
"""Labels that samples have without our doing."""


def expressions(value: Any) -> Iterator[str]:
    """Every expression of the board."""
    if isinstance(value, dict):
        if isinstance(expression := value.get("expr") or value.get("query"), str):
            yield expression
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from expressions(one)


def board() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DEPLOY / "grafana" / "switchboard.json").read_text())
    return read


def sources() -> dict[str, list[str]]:
    alerts = (RULES / "alerts.yml").read_text()
    rules = re.findall(r"expr: (?:\|\n)?(.*?)\n        for:", alerts, re.DOTALL)
    return {"alerts.yml": rules, "switchboard.json": list(expressions(board()))}


def samples(metric: Described) -> set[str]:
    """Names that the metric's samples have."""
    suffixes = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
    return {metric.name + suffix for suffix in suffixes}


@pytest.mark.parametrize("source", ["alerts.yml", "switchboard.json"])
def test_each_metric_of_board_and_rules_exists_and_has_the_labels(source: str) -> None:
    known = {name: metric for metric in LISTED.values() for name in samples(metric)}
    found = sources()[source]
    named = [name for one in found for name in re.findall(r"\bswitchboard_\w+", one)]
    assert len(named) >= 10
    assert set(named) - set(known) == set()

    for one in found:
        own = {label for name in re.findall(r"\bswitchboard_\w+", one) for label in known[name].labels}
        grouped = re.findall(r"by \(([^)]*)\)", one)
        asked = {label.strip() for some in grouped for label in some.split(",")}
        asked |= set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", one))
        assert asked - own - BY_PROMETHEUS == set(), one


def test_the_board_has_every_metric_and_panels_that_do_not_overlap() -> None:
    text = "\n".join(expressions(board()))
    assert [name for name in LISTED if not re.search(rf"\b{name}(_\w+)?\b", text)] == []

    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)


def test_each_alert_is_tried_with_what_it_is_for_and_with_what_it_is_not() -> None:
    alerts = re.findall(r"alert: (\w+)", (RULES / "alerts.yml").read_text())
    tried = re.findall(r"name: (\w+) (fires|stays quiet)", (RULES / "tests.yml").read_text())
    assert len(alerts) >= 10
    assert sorted(tried) == sorted((alert, how) for alert in alerts for how in ("fires", "stays quiet"))


@pytest.mark.skipif(find_promtool() is None, reason="promtool is not installed (make test installs it)")
@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "tests.yml")])
def test_promtool_finds_the_alerts_right(arguments: tuple[str, ...]) -> None:
    ended = subprocess.run(["promtool", *arguments], cwd=RULES, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.skipif(find_promtool() is None, reason="promtool is not installed (make test installs it)")
def test_promtool_reads_the_job_of_the_page(tmp_path: Path) -> None:
    """docs/metrics.md; the file of the key is not here."""
    [job] = ALL["docs/metrics.md"]
    (tmp_path / "prometheus.yml").write_text(job.text)
    command = ["promtool", "check", "config", "--syntax-only", "prometheus.yml"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "job_name: switchboard\n" in job.text
