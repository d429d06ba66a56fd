"""What somebody may have meant who wrote a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

__all__ = ["did_you_mean", "did_you_mean_path", "nearest"]

# names of a folder that are compared; more take too long
MOST_NAMES = 5_000


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one, capitals aside; None where none is like it."""
    names = {other.casefold(): other for other in known}
    wanted = name.casefold()
    if wanted in names:
        return names[wanted]
    if found := get_close_matches(wanted, names, n=1):
        return names[found[0]]
    begun = [other for other in names if len(wanted) > 1 and other.startswith(wanted)]
    return names[begun[0]] if len(begun) == 1 else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message, ``"; did you mean 'NAME'?"``, or nothing where no known name is like this one."""
    found = nearest(name, known)
    return "" if found is None or found == name else f"; did you mean {found!r}?"


def did_you_mean_path(path: Path) -> str:
    """The same of a path that does not exist: its first missing part is compared with what lies beside it."""
    missing, rest = path, Path()
    while not missing.parent.exists() and missing.parent != missing:
        missing, rest = missing.parent, missing.name / rest
    try:
        names = [entry.name for entry in islice(missing.parent.iterdir(), MOST_NAMES)]
    except OSError:
        return ""
    found = nearest(missing.name, sorted(names))
    meant = missing.parent / found / rest if found else path
    return f"; did you mean {str(meant)!r}?" if meant != path and meant.exists() else ""
