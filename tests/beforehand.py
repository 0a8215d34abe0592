"""Install what tests install on first use: beside them it takes longer than a test may."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from tests.compliance import autobahn
from tests.interop import oldclient
from tests.services.proxies import find_traefik

INSTALLED: Final[tuple[Callable[[], Any], ...]] = (oldclient.interpreter, autobahn.prepare, find_traefik)


def main() -> None:
    """Install one after the other; of one that cannot be had its tests tell, which are skipped."""
    for install in INSTALLED:
        with suppress(oldclient.Unreachable, autobahn.NotAvailable):
            install()


if __name__ == "__main__":
    main()
