"""What the console brings along of others is what the lock file names, with its licence."""

from __future__ import annotations

import pytest

from tests.services.databases import REPOSITORY
from tests.services.javascript import require_packages

pytestmark = pytest.mark.once

VENDOR = REPOSITORY / "routing_app" / "console" / "static" / "console" / "vendor"
COPIES = {
    "uPlot.esm.js": "uplot/dist/uPlot.esm.js",
    "uPlot.min.css": "uplot/dist/uPlot.min.css",
    "uPlot.LICENSE": "uplot/LICENSE",
}


def test_every_copy_is_the_package_s_own() -> None:
    packages = require_packages("tests/console") / "node_modules"

    assert {path.name for path in VENDOR.iterdir()} == set(COPIES)
    for name, source in COPIES.items():
        assert (VENDOR / name).read_bytes() == (packages / source).read_bytes()
