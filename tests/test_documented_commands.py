"""Every command and every Python block of the pages can be run as it is written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from documented_commands import Documented, in_pages
from documented_runs import Runs, running

COMMANDS = in_pages()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with running(COMMANDS, tmp_path_factory.mktemp("pages")) as runs:
        yield runs


@pytest.mark.parametrize("documented", COMMANDS, ids=lambda documented: documented.title[:140])
def test_a_command_of_a_page_runs_as_written(runs: Runs, documented: Documented) -> None:
    runs.run(documented)
