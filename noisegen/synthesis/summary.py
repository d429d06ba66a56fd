"""What is written at the end of a build: the list of failures, the counts, the contact sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from noisegen.synthesis.contact_sheet import contact_sheet
from noisegen.synthesis.files import json_bytes, read_json, write_atomically
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.layout import DatasetFolder, Failure, Marker, Shard
from noisegen.synthesis.plan import BuildConfig
from noisegen.synthesis.records import read_index

__all__ = ["BuildSummary", "derived_tables", "failure_lines", "write_summary"]


@dataclass(frozen=True)
class BuildSummary:
    """The outcome of a build.

    Attributes:
        output: the dataset's folder or URL.
        shards, shards_built: in the dataset, and made by this call (the others were there).
        tiles: in the dataset.
        megapixels: in the dataset's noisy tiles.
        failures: manifest rows that gave no tiles, by reason.
        seconds: that this call took.
    """

    output: str
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
                f"{sum(self.failures.values())} photographs failed ({reasons}), see {self.output}/failures.jsonl"
            )
        return "\n".join(lines)


def failure_lines(failures: Sequence[Failure]) -> bytes:
    """The content of failures.jsonl: one line for each failed row."""
    return b"".join(json_bytes(asdict(failure)) for failure in failures)


def derived_tables(folder: DatasetFolder, shards: Sequence[Shard], tile_size: int) -> dict[str, bytes]:
    """The content of failures.jsonl and dataset.json, which follow from the finished shards."""
    markers = _light_markers(folder, shards)
    folder.fetch(folder.index_file(shard).relative_to(folder.root).as_posix() for shard in shards)
    failures = [failure for marker in markers for failure in marker.failures]
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
        "failures": dict(sorted(Counter(failure.reason for failure in failures).items())),
    }
    return {"failures.jsonl": failure_lines(failures), "dataset.json": json_bytes(table, indent=1)}


def write_summary(folder: DatasetFolder, shards: Sequence[Shard], config: BuildConfig) -> dict[str, Any]:
    """Writes failures.jsonl, dataset.json and contact_sheet.png; returns the contents of dataset.json."""
    for name, content in derived_tables(folder, shards, config.tile_size).items():
        write_atomically(folder.root / name, content)
    sheet = contact_sheet(folder, format_named(config.format), _light_markers(folder, shards))
    if sheet is not None:
        write_atomically(folder.root / "contact_sheet.png", sheet)
    return read_json(folder.root / "dataset.json")


def _light_markers(folder: DatasetFolder, shards: Sequence[Shard]) -> list[Marker]:
    """Markers without their lists of files, which are not needed and may be long."""
    return [replace(marker, files={}) for shard in shards if (marker := folder.read_marker(shard))]
