"""README.md holds the table of settings that the code holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from broker_project.management.commands.options import table

pytestmark = pytest.mark.once

README = Path(settings.BASE_DIR) / "README.md"


def test_the_table_of_settings_is_the_one_that_options_prints() -> None:
    text = README.read_text(encoding="utf-8")
    _, _, rest = text.partition("<!-- options -->\n")
    held, marker, _ = rest.partition("\n<!-- /options -->")
    assert marker, "README.md has lost its markers"
    assert held == table(), "run: manage.py options, and paste its table into README.md"


def test_every_setting_says_what_it_does() -> None:
    assert all(option.help.endswith(".") for option in settings.ENVIRONMENT.options)


def test_every_file_that_the_readme_names_exists() -> None:
    text = README.read_text(encoding="utf-8")
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
