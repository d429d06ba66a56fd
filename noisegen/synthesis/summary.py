"""What is written at the end of a build: the list of failures, the counts, the contact sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from noisegen.errors import InputError
from noisegen.png import decode_png
from noisegen.synthesis.contact_sheet import contact_sheet
from noisegen.synthesis.failures import failures_agree, recorded_failures, write_failures
from noisegen.synthesis.files import json_bytes, read_json, write_atomically
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.layout import DatasetFolder, Marker, Shard
from noisegen.synthesis.plan import BuildConfig
from noisegen.synthesis.records import read_index

__all__ = ["BuildSummary", "disagreements", "write_summary"]


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
    """

    output: Path
    shards: int
    shards_built: int
    tiles: int
    megapixels: float
    failures: dict[str, int]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0, or 3 where rows failed."""
        return 3 if self.failures else 0

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
        return "\n".join(lines)


def disagreements(folder: DatasetFolder, shards: Sequence[Shard], tile_size: int) -> list[str]:
    """What is wrong with the files that `write_summary` writes, where all shards are finished and whole."""
    table, sheet = folder.root / "dataset.json", folder.root / "contact_sheet.png"
    if not table.exists():
        return ["dataset.json is missing, so the build has not come to its end"]
    agrees = {
        "failures.jsonl": failures_agree(folder),
        "dataset.json": table.read_bytes() == _dataset_table(folder, shards, tile_size),
    }
    problems = [f"{name} does not agree with the shards" for name, agreed in agrees.items() if not agreed]
    try:
        # its pixels may differ by the versions of the libraries that draw it, so only damage is looked for
        if sheet.exists():
            decode_png(sheet.read_bytes())
    except InputError as error:
        problems.append(f"contact_sheet.png cannot be decoded: {error}")
    return problems


def _dataset_table(folder: DatasetFolder, shards: Sequence[Shard], tile_size: int) -> bytes:
    """The content of dataset.json."""
    markers = _light_markers(folder, shards)
    conditions: Counter[tuple[str, int]] = Counter()
    for marker in markers:
        rows = read_index(folder.index_file(marker.shard), ["camera", "iso"])
        conditions.update((row["camera"], row["iso"]) for row in rows)
    tiles = sum(marker.tiles for marker in markers)
    table = {
        "shards": len(markers),
        "tiles": tiles,
        "tile_size": tile_size,
        "megapixels": tiles * tile_size**2 / 1e6,
        "conditions": [
            {"camera": camera, "iso": iso, "tiles": count}
            for (camera, iso), count in sorted(conditions.items())
        ],
        "failures": dict(sorted(Counter(f.reason for f in recorded_failures(folder)).items())),
    }
    return json_bytes(table, indent=1)


def write_summary(folder: DatasetFolder, shards: Sequence[Shard], config: BuildConfig) -> dict[str, Any]:
    """Writes failures.jsonl, dataset.json and contact_sheet.png; returns the contents of dataset.json."""
    write_failures(folder)
    write_atomically(folder.root / "dataset.json", _dataset_table(folder, shards, config.tile_size))
    sheet = contact_sheet(folder, format_named(config.format), _light_markers(folder, shards))
    if sheet is not None:
        write_atomically(folder.root / "contact_sheet.png", sheet)
    return read_json(folder.root / "dataset.json")


def _light_markers(folder: DatasetFolder, shards: Sequence[Shard]) -> list[Marker]:
    """Markers without their files and failures, which may be many."""
    return [
        replace(marker, files={}, failures=()) for shard in shards if (marker := folder.read_marker(shard))
    ]
