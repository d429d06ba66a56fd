"""docs/scaling.md and its pages: commands that can be given as they stand, and files that are there."""

from __future__ import annotations

import re
import shlex
import subprocess
from itertools import groupby
from pathlib import Path

import pytest
import yaml
from image_fixtures import ROOT, parsed
from job_file_fixtures import PLACEHOLDER

from noisegen.cli import COMMANDS

PAGES = [ROOT / "docs/scaling.md", *sorted((ROOT / "docs/scaling").glob("*.md"))]
PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code(page: Path) -> str:
    """The indented code of a page, continued lines joined."""
    lines = page.read_text(encoding="utf-8").splitlines()
    blocks = (
        list(block) for is_code, block in groupby(lines, lambda line: line.startswith("    ")) if is_code
    )
    return "\n".join(line.strip() for block in blocks for line in block).replace("\\\n", "")


def simple_commands(page: Path) -> list[list[str]]:
    """The words of each command in a page's code, without assignments in front of it."""
    commands: list[list[str]] = []
    for line in code(page).splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        words.whitespace_split = True
        commands.append([])
        for word in words:
            if set(word) <= set("();<>|&"):
                commands.append([])
            elif commands[-1] or not re.match(r"(do|[A-Z_]+=.*)$", word):
                commands[-1].append(word)
    return commands


def arguments_of_noisegen(command: list[str]) -> list[str] | None:
    """What a command gives to noisegen, directly, by the Slurm script or in a container; None where it does not."""
    if command[:1] == ["noisegen"]:
        return command[1:]
    if command[:1] == ["sbatch"]:
        return ["build-dataset", *command[command.index("docker/slurm.sh") + 1 :]]
    if command[:2] == ["docker", "run"]:
        return command[command.index("noisegen") + 1 :]
    if command[:2] == ["docker", "compose"]:
        return command[command.index("gpu") + 1 :] or None
    return None


@PAGE
def test_the_shell_can_read_the_code(page: Path) -> None:
    done = subprocess.run(["bash", "-n"], input=code(page), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@PAGE
def test_noisegen_understands_its_command_lines(page: Path) -> None:
    lines = [arguments for c in simple_commands(page) if (arguments := arguments_of_noisegen(c)) is not None]
    assert lines
    for arguments in lines:
        parsed(["0" if word == "$rank" else word for word in arguments])
    for mentioned in re.findall(r"`noisegen ([^`]+)`", page.read_text(encoding="utf-8")):
        name, *rest = mentioned.split()
        assert name in COMMANDS
        if rest:
            parsed([name, *rest])


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
