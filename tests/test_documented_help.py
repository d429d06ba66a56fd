"""Every example of each --help can be run as it is written, and the rules about running are all needed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from documented_commands import Documented, in_help, in_helps, in_pages
from documented_rules import NOT_RUN, QUICK, STAND_INS, NotRun, Quick, StandIn
from documented_runs import Runs, running
from image_fixtures import ROOT

from noisegen.cli import COMMANDS

EXAMPLES = in_helps()
ALL = in_pages() + EXAMPLES


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with running(EXAMPLES, tmp_path_factory.mktemp("helps")) as runs:
        yield runs


@pytest.mark.parametrize("documented", EXAMPLES, ids=lambda documented: documented.title[:140])
def test_an_example_of_a_help_runs_as_written(runs: Runs, documented: Documented) -> None:
    runs.run(documented)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_has_an_example_of_its_own_command(name: str) -> None:
    assert any(re.search(rf"noisegen {name}\b", example.text) for example in in_help(name))


@pytest.mark.parametrize("rule", NOT_RUN, ids=lambda rule: rule.pattern)
def test_each_excuse_is_needed_and_names_a_test_that_is_there(rule: NotRun) -> None:
    assert any(re.search(rule.pattern, documented.title) for documented in ALL)
    if rule.test:
        path, _, name = rule.test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not name or name in names


@pytest.mark.parametrize("rule", QUICK, ids=lambda rule: rule.pattern)
def test_each_rule_that_makes_quick_is_needed(rule: Quick) -> None:
    lines = [documented.text.partition("noisegen ")[2] for documented in ALL]
    assert any(re.match(rule.pattern, line) for line in lines)


@pytest.mark.parametrize("rule", STAND_INS, ids=lambda rule: rule.pattern)
def test_each_stand_in_is_needed(rule: StandIn) -> None:
    assert any(re.search(rule.pattern, documented.title) for documented in ALL)
