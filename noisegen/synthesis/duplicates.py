"""Rows of a manifest with the id of an earlier row: they would get the same noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisegen.manifest import Manifest, ManifestRow
from noisegen.synthesis.randomness import tile_key
from noisegen.synthesis.shards import Failure

__all__ = ["RepeatedIds"]


@dataclass(frozen=True)
class RepeatedIds:
    """Which rows repeat an id, and whose.

    Attributes:
        rows: int64, ascending: rows whose id an earlier row has.
        firsts: int64, of the same length: the first row with that id.
    """

    rows: np.ndarray
    firsts: np.ndarray

    @classmethod
    def of(cls, manifest: Manifest, stop: int, seed: int) -> RepeatedIds:
        """Looks through the ids of the rows before ``stop``, with 18 bytes of memory a row where none is repeated.

        Ids are compared by the 64-bit key from which their noise follows under this seed, so two different ids with
        one key (a chance of three in 10**8 for a million rows) count as repeated too, and rightly.

        Raises:
            UsageError: the manifest cannot be read.
        """
        keys = np.zeros(stop, np.uint64)
        # a row without an id is a bad row anyway
        named = np.zeros(stop, bool)
        for row, name in enumerate(manifest.ids(stop)):
            if name is not None:
                keys[row], named[row] = tile_key(seed, name, 0), True
        in_order = np.sort(keys)
        several = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
        del in_order
        alike = np.flatnonzero(named & np.isin(keys, several)) if len(several) else np.zeros(0, np.int64)
        _, first, group = np.unique(keys[alike], return_index=True, return_inverse=True)
        firsts = alike[first][group]
        repeats = alike != firsts
        return cls(alike[repeats], firsts[repeats])

    @classmethod
    def none(cls) -> RepeatedIds:
        """Where ids are not looked at."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    def failure(self, row: ManifestRow, path: str) -> Failure | None:
        """The failure of a row that repeats an id; None for any other row.

        Args:
            row: of the manifest.
            path: as it is to be shown.
        """
        place = int(np.searchsorted(self.rows, row.index))
        if place == len(self.rows) or self.rows[place] != row.index:
            return None
        message = (
            f"row {row.index} has the id {row.id!r} of row {self.firsts[place]}, so it would get the same noise; "
            "give each row an id of its own"
        )
        return Failure(row.index, row.id, path, "duplicate_id", message)
