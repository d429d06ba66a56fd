"""docs/reliability.md names tests and scripts that are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"


def test_every_test_and_script_that_the_page_names_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"`(?:tests/)?((?:faults/|test_)\w+\.py)?(::\w+)?`", text)
    missing = []
    file = ""
    for path, function in named:
        file = path or file
        if not (path or function):
            continue
        source = (TESTS / file).read_text(encoding="utf-8") if (TESTS / file).is_file() else ""
        if not source or (function and f"def {function[2:]}(" not in source):
            missing.append(f"{file}{function}")
    assert len([pair for pair in named if any(pair)]) > 40
    assert not missing
