"""A server with the settings of the ConfigMap, as far as they are not those of a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.files import manifests
from tests.services.databases import Databases
from tests.services.ports import LOOPBACK
from tests.services.running import running
from tests.services.server import Server


@pytest.fixture(scope="package")
def configured(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It trusts a proxy on this machine instead of those of the cluster."""
    options = {**manifests()["ConfigMap"]["data"], "TRUSTED_PROXIES": LOOPBACK}
    with running(databases, tmp_path_factory.mktemp("configured"), **options) as server:
        yield server
