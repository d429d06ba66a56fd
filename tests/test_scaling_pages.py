"""docs/scaling.md and its pages: code that a shell reads, job files that get filled in, files that are there."""

from __future__ import annotations

import re
import shlex
import subprocess
from itertools import groupby
from pathlib import Path

import pytest
import yaml
from image_fixtures import ROOT
from job_file_fixtures import PLACEHOLDER

PAGES = [ROOT / "docs/scaling.md", *sorted((ROOT / "docs/scaling").glob("*.md"))]
PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code(page: Path) -> str:
    """The indented code of a page, continued lines joined."""
    lines = page.read_text(encoding="utf-8").splitlines()
    blocks = (
        list(block) for is_code, block in groupby(lines, lambda line: line.startswith("    ")) if is_code
    )
    return "\n".join(line.strip() for block in blocks for line in block).replace("\\\n", "")


@PAGE
def test_the_shell_can_read_the_code(page: Path) -> None:
    done = subprocess.run(["bash", "-n"], input=code(page), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@PAGE
def test_the_sed_commands_fill_in_everything(page: Path, tmp_path: Path) -> None:
    """In a page's order: what one writes, a later one may read."""
    for line in code(page).splitlines():
        if not line.startswith("sed "):
            continue
        line, _, target = re.sub(r" \| kubectl apply -f -$", " >applied.yaml", line).rpartition(" >")
        line = line.replace(" docker/", f" {shlex.quote(str(ROOT))}/docker/")
        text = subprocess.run(
            line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        (tmp_path / target).write_text(text, encoding="utf-8")
        documents = list(yaml.safe_load_all(text))
        assert not PLACEHOLDER.search(str(documents))
        if "16" in line:
            spec = documents[-1]["spec"]
            (container,) = spec["template"]["spec"]["containers"]
            assert {spec[key] for key in ("completions", "parallelism", "maxFailedIndexes")} == {16}
            assert container["env"][0] == {"name": "JOB_COMPLETIONS", "value": "16"}
            assert container["resources"]["requests"]["cpu"] == "7"
        if "32" in line:
            (group,) = documents[0]["taskGroups"]
            assert group["taskCount"] == group["parallelism"] == 32
            assert group["taskSpec"]["computeResource"]["cpuMilli"] == 8000


@PAGE
def test_files_and_pages_that_are_named_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"(?<![\w/.])docker/[\w.-]*[\w-]", text):
        assert (ROOT / name).exists(), name
    for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text):
        assert (page.parent / link).exists(), link


def test_every_page_is_in_the_list_and_the_list_in_the_readme() -> None:
    listed = set(re.findall(r"\]\(scaling/([\w-]+\.md)\)", PAGES[0].read_text(encoding="utf-8")))
    assert listed == {page.name for page in PAGES[1:]}
    assert "(docs/scaling.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_job_file_and_image_file_is_in_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for path in (ROOT / "docker").iterdir():
        assert f"docker/{path.name}" in text
