"""A command's argument that is a path or a URL."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from noisegen.remote import as_place

__all__ = ["PLACE"]


class _Place(click.ParamType):
    name = "path or url"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """A Path, or the text of a URL, which a Path would spoil."""
        return value if isinstance(value, Path) else as_place(str(value))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Files and folders."""
        return [CompletionItem(incomplete, type="file")]


PLACE = _Place()
