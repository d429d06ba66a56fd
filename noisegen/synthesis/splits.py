"""Which split of the dataset a photograph belongs to."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from noisegen.chance import pick, places
from noisegen.errors import UsageError

__all__ = ["parse_split", "split_of"]

_EXAMPLE = "as in train:0.9,val:0.05,test:0.05"


def parse_split(text: str) -> dict[str, float]:
    """The shares of the splits in ``NAME:SHARE,NAME:SHARE,...``.

    Raises:
        UsageError: it is written otherwise, or the shares do not sum to 1.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = (piece.strip() for piece in part.partition(":"))
        if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise UsageError(f"split {part.strip()!r} is not NAME:SHARE with a plain name, {_EXAMPLE}")
        if name in shares:
            raise UsageError(f"split {name!r} is given twice; give each name once, {_EXAMPLE}")
        try:
            shares[name] = float(number)
        except ValueError as error:
            raise UsageError(
                f"split {name!r} has no number but {number!r} as its share, {_EXAMPLE}"
            ) from error
        if not 0 < shares[name] <= 1:
            raise UsageError(f"split {name!r} has the share {number}; shares lie between 0 and 1, {_EXAMPLE}")
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise UsageError(f"the shares of the splits sum to {sum(shares.values()):g}, not to 1, {_EXAMPLE}")
    return shares


def split_of(shares: Mapping[str, float] | None, seed: int, image_id: str) -> str:
    """The split of a photograph, a pure function of the arguments; "" where no shares are given.

    The order in which the shares are given does not matter.
    """
    if not shares:
        return ""
    names = sorted(shares)
    return names[pick([shares[name] for name in names], places(1, "split", seed, image_id)[0])]
