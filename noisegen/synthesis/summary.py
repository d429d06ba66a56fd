"""What is written at the end of a build: the list of failures, the counts, the contact sheet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from noisegen.synthesis.card import dataset_card
from noisegen.synthesis.contact_sheet import contact_sheet
from noisegen.synthesis.croissant import croissant
from noisegen.synthesis.files import json_bytes, write_atomically
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.layout import DatasetFolder, Failure, Marker
from noisegen.synthesis.records import read_index

__all__ = ["BuildSummary", "derived_files", "failure_lines", "write_summary"]


@dataclass(frozen=True)
class BuildSummary:
    """The outcome of a build.

    Attributes:
        output: the dataset's folder.
        shards, shards_built: in the dataset, and made by this call (the others were there).
        tiles: in the dataset.
        megapixels: in the dataset's noisy tiles.
        failures: manifest rows that gave no tiles, by reason.
        seconds: that this call took.
        lost: rows of shards to be retried that have tiles but fail now; those shards were kept as they were.
    """

    output: Path
    shards: int
    shards_built: int
    tiles: int
    megapixels: float
    failures: dict[str, int]
    seconds: float
    lost: tuple[Failure, ...] = ()

    @property
    def exit_code(self) -> int:
        """0, or 3 where rows failed."""
        return 3 if self.failures or self.lost else 0

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**asdict(self), "output": str(self.output)}

    def text(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.tiles} tiles ({self.megapixels:.1f} MP) in {self.shards} shards in {self.output}, "
            f"{self.shards_built} shards built now in {self.seconds:.1f} s"
        ]
        if self.failures:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.failures.items())
            lines.append(
                f"{sum(self.failures.values())} photographs failed ({reasons}), see {self.output / 'failures.jsonl'}"
            )
        lines += [
            f"kept as it was: the shard of row {failure.row}, which has tiles but cannot be used now: {failure.message}"
            for failure in self.lost
        ]
        return "\n".join(lines)


def failure_lines(failures: Sequence[Failure]) -> bytes:
    """The content of failures.jsonl: one line for each failed row."""
    return b"".join(json_bytes(asdict(failure)) for failure in failures)


def derived_files(folder: DatasetFolder) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What follows from the finished shards: the content of dataset.json, and all such text files by name."""
    run = folder.read_run()
    tile_size = int(run["config"]["tile_size"])
    markers = _light_markers(folder)
    failures = [failure for marker in markers for failure in marker.failures]
    tiles = sum(marker.tiles for marker in markers)
    table: dict[str, Any] = {
        "shards": len(markers),
        "tiles": tiles,
        "tile_size": tile_size,
        "megapixels": tiles * tile_size**2 / 1e6,
        "conditions": _conditions(folder, markers),
        "failures": dict(sorted(Counter(failure.reason for failure in failures).items())),
    }
    return table, {
        "failures.jsonl": failure_lines(failures),
        "dataset.json": json_bytes(table, indent=1),
        "README.md": dataset_card(run, table),
        "croissant.json": croissant(run, table),
    }


def write_summary(folder: DatasetFolder) -> dict[str, Any]:
    """Writes the files that describe the whole, where every shard is finished; returns the contents of dataset.json."""
    table, files = derived_files(folder)
    if table["shards"] < len(folder.shards()):
        return table
    for name, content in files.items():
        write_atomically(folder.root / name, content)
    output_format = format_named(folder.read_run()["config"]["format"])
    sheet = contact_sheet(folder, output_format, _light_markers(folder))
    if sheet is not None:
        write_atomically(folder.root / "contact_sheet.png", sheet)
    return table


def _conditions(folder: DatasetFolder, markers: Sequence[Marker]) -> list[dict[str, Any]]:
    """Tiles of each camera and ISO, and the deviation of their noise."""
    tiles: Counter[tuple[str, int]] = Counter()
    squares: dict[tuple[str, int], float] = {}
    for marker in markers:
        for row in read_index(folder.index_file(marker.shard), ["camera", "iso", "noise_std"]):
            condition = (row["camera"], row["iso"])
            tiles[condition] += 1
            squares[condition] = squares.get(condition, 0.0) + row["noise_std"] ** 2
    return [
        {
            "camera": camera,
            "iso": iso,
            "tiles": count,
            "noise_std": round(math.sqrt(squares[camera, iso] / count), 4),
        }
        for (camera, iso), count in sorted(tiles.items())
    ]


def _light_markers(folder: DatasetFolder) -> list[Marker]:
    """Markers without their lists of files, which are not needed and may be long."""
    return [replace(marker, files={}) for shard in folder.shards() if (marker := folder.read_marker(shard))]
