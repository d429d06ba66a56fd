"""docs/reference/python-api.md describes what the package offers."""

from __future__ import annotations

import re
from pathlib import Path

import noisegen

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "python-api.md"


def test_every_public_name_is_on_the_page() -> None:
    described = re.findall(r"^\.\. auto\w+:: noisegen\.(\w+)$", PAGE.read_text(encoding="utf-8"), re.M)
    assert sorted(described) == sorted(set(noisegen.__all__) - {"__version__"})
