"""docs/python.md to the letter: its training loops train, and it lists every public name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from synthesis_fixtures import invoke, make_workplace

import noisegen

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text()


def loops(heading: str) -> list[str]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)


def trained(code: list[str]) -> None:
    """Runs the blocks one after the other; each changes the network."""
    names = {"model": torch.nn.Conv2d(3, 3, 1), "device": "cpu", "epochs": 2}
    for block in code:
        before = names["model"].weight.detach().clone()
        exec(block, names)
        assert not torch.equal(names["model"].weight, before)


@pytest.mark.filterwarnings("ignore:'pin_memory'")
def test_the_loops_on_fresh_noise_and_on_a_dataset_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "PHOTOS").mkdir()
    place = make_workplace(tmp_path / "PHOTOS", photographs=3)
    trained(loops("Fresh noise during training"))
    assert invoke(*place.arguments(tmp_path / "DATASET")).exit_code == 0
    trained(loops("Pairs from disk"))


def test_the_page_names_all_that_is_public() -> None:
    table = PAGE.split("\n| name |")[1].split("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named | {"BuildSummary", "__version__"} == set(noisegen.__all__)
