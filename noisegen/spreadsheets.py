"""CSV tables for people, who open them in spreadsheets."""

from __future__ import annotations

__all__ = ["plain_cell"]

# what makes LibreOffice or Excel take a text for a formula
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def plain_cell(value: object) -> object:
    """The value for a cell of a CSV; a text that a spreadsheet would run as a formula gets an apostrophe in front.

    Names of cameras and files come from strangers' manifests and checkpoints. Tables that noisegen reads again must
    not go through here, as their text has to stay what it is.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
