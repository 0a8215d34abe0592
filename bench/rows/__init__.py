"""The tables of the benchmark, one file each: a module here offers one `SECTION` (see `bench/section.py`)."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from bench.section import Section


def sections() -> list[Section]:
    """Every section, in the order in which they are measured."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return sorted((module.SECTION for module in modules), key=lambda section: (section.order, section.name))
