"""Commands and Python code that the documentation shows: README, docs/, manifests/, model cards, and each --help."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from image_fixtures import ROOT
from markdown_it import MarkdownIt
from markdown_it.token import Token

from noisegen.cli import COMMANDS, main

PROGRAMS = ("noisegen", "python", "pip", "make", "torchrun", "pytest")
SHELL = {"", "sh", "bash", "console", "shell"}
# of fenced blocks, beside directives in braces
NO_COMMANDS = {"yaml", "toml", "json", "text", "html", "css", "ini", "diff", "dockerfile", "csv"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True)
class Documented:
    """One command line, or one block of Python.

    Attributes:
        page: path of the page from the repository's top, or ``noisegen NAME --help``.
        block: number of the code block in its page; commands of one block are given one after the other. Each line
            of a help and each command in running text is a block of its own.
        language: ``shell`` or ``python``.
        text: without prompt and comment, continued lines joined; of compound commands all lines.
        line: where the block begins in its page, from 1; of a help 0.
    """

    page: str
    block: int
    language: str
    text: str
    line: int

    @property
    def title(self) -> str:
        """Page and text; of Python the line where it begins."""
        shown = f"python, line {self.line}" if self.language == "python" else " ".join(self.text.split())
        return f"{self.page}: {shown}"


def pages() -> list[Path]:
    """The Markdown files that users read."""
    found = [ROOT / "README.md", ROOT / "manifests" / "README.md"]
    for folder in ("docs", "noisegen"):
        inner = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.md"))
        found += sorted(ROOT / path for path in inner if not any(part[0] in "._" for part in path.parts))
    return found


def in_page(path: Path) -> list[Documented]:
    """What a page shows: indented code is shell, fenced code what its language says, and commands in running text.

    Raises:
        ValueError: a fenced block has a language that is in neither list.
    """
    page = path.relative_to(ROOT).as_posix()
    found: list[Documented] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    for block, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "code_block" or token.type == "fence":
            words = token.info.split()
            language = words[0] if words else ""
            if language == "python":
                found.append(Documented(page, block, "python", token.content, line))
            elif language in SHELL and (token.type == "code_block" or language):
                found += [Documented(page, block, "shell", text, line) for text in shell_lines(token.content)]
            elif not language.startswith("{") and language not in NO_COMMANDS:
                raise ValueError(f"{page}:{line}: a fenced block of the language {language!r}")
        elif token.type == "inline":
            for number, text in enumerate(_in_text(token)):
                found.append(Documented(page, 1000 * (block + 1) + number, "shell", text, line))
    return found


def in_help(name: str) -> list[Documented]:
    """Lines of a command's help that begin with a program, and commands between backticks; "" is noisegen itself."""
    command = main if not name else main.get_command(click.Context(main), name)
    assert command is not None
    paragraphs = [*inspect.cleandoc(command.help or "").split("\n\n"), command.epilog or ""]
    lines = [
        text
        for paragraph in paragraphs
        if paragraph.startswith("\b")
        for text in shell_lines(_unwrapped(paragraph))
        if _program(text) in PROGRAMS
    ]
    helps = [getattr(parameter, "help", None) or "" for parameter in command.params]
    for prose in [*paragraphs, *helps]:
        lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose) if is_command(span)]
    page = f"noisegen {name} --help" if name else "noisegen --help"
    return [Documented(page, block, "shell", text, 0) for block, text in enumerate(lines)]


def in_pages() -> list[Documented]:
    return [documented for path in pages() for documented in in_page(path)]


def in_helps() -> list[Documented]:
    return [documented for name in ("", *COMMANDS) for documented in in_help(name)]


def _in_text(token: Token) -> Iterator[str]:
    for child in token.children or ():
        if child.type == "code_inline" and is_command(child.content):
            yield child.content.removeprefix("$ ")


def is_command(text: str) -> bool:
    """Whether code in running text is a command: one of the programs with something behind it."""
    words = text.removeprefix("$ ").split()
    program = _program(" ".join(words))
    return program in PROGRAMS and words[-1] != program


def _program(line: str) -> str:
    """The first word that is no assignment; as far as it can be told without a shell."""
    return next((word for word in line.split() if not _ASSIGNMENT.match(word)), "")


def _unwrapped(paragraph: str) -> str:
    """A paragraph of a help, in which lines that are indented more continue the one before."""
    lines: list[str] = []
    for line in paragraph.splitlines():
        deep = len(line) - len(line.lstrip())
        if (
            lines
            and lines[-1].strip().startswith(PROGRAMS)
            and deep > len(lines[-1]) - len(lines[-1].lstrip())
        ):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines)


def shell_lines(block: str) -> list[str]:
    """The command lines of a block; where some have the prompt ``$``, the others are what is printed."""
    lines = [line.rstrip() for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    if any(line.lstrip().startswith("$ ") for line in lines):
        lines = [line.lstrip()[2:] for line in lines if line.lstrip().startswith("$ ")]
    found: list[str] = []
    for line in lines:
        if found and re.match(r"(for|while|if)\b", found[-1]) and not re.search(r"\b(done|fi)$", found[-1]):
            found[-1] += f"\n{line}"
        else:
            found.append(line.strip())
    return [
        " ".join(text.split()) if "\n" not in text else text for text in map(_without_comment, found) if text
    ]


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#\s.*$", "", line)


def simple_commands(line: str) -> list[list[str]]:
    """The words of each command of a line, as a shell would split it, without assignments in front."""
    words = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    words.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in words:
        if word and set(word) <= set("();<>|&"):
            commands.append([])
        elif commands[-1] or not (word == "do" or _ASSIGNMENT.match(word)):
            commands[-1].append(word)
    return [command for command in commands if command]


def noisegen_arguments(command: Sequence[str]) -> list[str] | None:
    """What a command gives to noisegen: directly, by torchrun, the Slurm script or in a container; else None."""
    words = list(command)
    if words[0] == "noisegen":
        return None if words[1:2] == ["COMMAND"] else words[1:]
    if "-m" in words and words[words.index("-m") + 1 :][:1] == ["noisegen"]:
        return words[words.index("-m") + 2 :]
    if words[0] == "sbatch":
        return ["build-dataset", *words[words.index("docker/slurm.sh") + 1 :]]
    if words[:2] == ["docker", "run"] and "noisegen" in words:
        return words[words.index("noisegen") + 1 :]
    if words[:2] == ["docker", "compose"] and "gpu" in words:
        return words[words.index("gpu") + 1 :] or None
    if words[:3] == ["ray", "job", "submit"]:
        return words[words.index("noisegen") + 1 :]
    return None
