"""How help looks: bold headings on a terminal, examples at the end."""

from __future__ import annotations

import inspect
import os

import click

__all__ = ["Context", "Formatter", "colour", "split_examples", "write_examples", "write_text"]

EXAMPLES = "\b\nExamples:\n"


def colour() -> bool | None:
    """What click is to do about colours: False for none, None for colours on terminals only."""
    return False if os.environ.get("NO_COLOR") else None


class Formatter(click.HelpFormatter):
    """Writes headings in bold; click takes that away again where no terminal reads it."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, click.style("Usage:", bold=True) + " ")

    def write_heading(self, heading: str) -> None:
        self.write(f"{'':>{self.current_indent}}{click.style(f'{heading}:', bold=True)}\n")


class Context(click.Context):
    formatter_class = Formatter


def write_text(formatter: click.HelpFormatter, text: str) -> None:
    """Writes a docstring without its examples."""
    with formatter.indentation():
        formatter.write_paragraph()
        formatter.write_text(split_examples(text)[0])


def write_examples(formatter: click.HelpFormatter, text: str) -> None:
    """Writes the examples of a docstring as a section of its own."""
    lines = split_examples(text)[1]
    if lines:
        with formatter.section("Examples"):
            for line in lines:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n" if line else "\n")


def split_examples(text: str) -> tuple[str, list[str]]:
    """The text of a docstring without its examples, and their lines.

    Args:
        text: of which the examples are the last paragraph: ``\\b``, ``Examples:`` and indented lines.
    """
    description, _, examples = inspect.cleandoc(text).partition(EXAMPLES)
    return description.rstrip(), inspect.cleandoc(examples).splitlines() if examples else []
