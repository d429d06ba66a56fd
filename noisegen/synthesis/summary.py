"""What is written at the end of a build: the list of failures, the counts, the card, the contact sheet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from noisegen.errors import InputError
from noisegen.png import decode_png
from noisegen.synthesis.card import dataset_card
from noisegen.synthesis.contact_sheet import contact_sheet
from noisegen.synthesis.croissant import croissant
from noisegen.synthesis.failures import failures_agree, recorded_failures, write_failures
from noisegen.synthesis.files import json_bytes, write_atomically
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.layout import SUMMARY_FILES, DatasetFolder, Failure, Marker
from noisegen.synthesis.profile import Profile
from noisegen.synthesis.records import read_index

__all__ = ["BuildSummary", "disagreements", "write_summary"]


@dataclass(frozen=True)
class BuildSummary:
    """The outcome of a build.

    Attributes:
        output: the dataset's folder or URL.
        shards, shards_built: in the dataset, and made by this call (the others were there).
        tiles: in the dataset.
        megapixels: in the dataset's noisy tiles.
        failures: manifest rows that gave no tiles, by reason.
        left_out: tiles that the selection left out, by reason.
        seconds: that this call took.
        lost: rows of shards to be retried that have tiles but fail now; those shards were kept as they were.
        profile: where the time went, where that was asked for.
    """

    output: str
    shards: int
    shards_built: int
    tiles: int
    megapixels: float
    failures: dict[str, int]
    left_out: dict[str, int]
    seconds: float
    lost: tuple[Failure, ...] = ()
    profile: Profile | None = None

    @property
    def exit_code(self) -> int:
        """0, or 3 where rows failed."""
        return 3 if self.failures or self.lost else 0

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        profile = self.profile and self.profile.to_dict()
        return {**asdict(self), "output": str(self.output), "profile": profile}

    def text(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.tiles} tiles ({self.megapixels:.1f} MP) in {self.shards} shards in {self.output}, "
            f"{self.shards_built} shards made now in {self.seconds:.1f} s"
        ]
        if self.left_out:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.left_out.items())
            lines.append(f"{sum(self.left_out.values())} tiles were left out by the selection ({reasons})")
        if self.failures:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.failures.items())
            lines.append(
                f"{sum(self.failures.values())} photographs failed ({reasons}), see {self.output}/failures.jsonl"
            )
        lines += [
            f"kept as it was: the shard of row {failure.row}, which has tiles but cannot be used now: {failure.message}"
            for failure in self.lost
        ]
        if self.profile is not None:
            lines.append(self.profile.text())
        return "\n".join(lines)


def disagreements(folder: DatasetFolder) -> list[str]:
    """What is wrong with the files that `write_summary` writes, where all shards are finished and whole."""
    _, files = _derived_files(folder)
    folder.fetch(SUMMARY_FILES)
    missing = [name for name in files if not (folder.root / name).exists()]
    if missing:
        return [f"{', '.join(missing)} missing, so the build has not come to its end"]
    agrees = {"failures.jsonl": failures_agree(folder)}
    for name, content in files.items():
        agrees[name] = (folder.root / name).read_bytes() == content
    problems = [f"{name} does not agree with the shards" for name, agreed in agrees.items() if not agreed]
    sheet = folder.root / "contact_sheet.png"
    try:
        # its pixels may differ by the versions of the libraries that draw it, so only damage is looked for
        if sheet.exists():
            decode_png(sheet.read_bytes())
    except InputError as error:
        problems.append(f"contact_sheet.png cannot be decoded: {error}")
    return problems


def _derived_files(folder: DatasetFolder) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What follows from the finished shards: the content of dataset.json, and of text files by name."""
    run = folder.read_run()
    tile_size = int(run["config"]["tile_size"])
    markers = _light_markers(folder)
    folder.fetch(folder.index_file(marker.shard).relative_to(folder.root).as_posix() for marker in markers)
    tiles = sum(marker.tiles for marker in markers)
    left_out: Counter[str] = Counter()
    for marker in markers:
        left_out.update(marker.left_out)
    table: dict[str, Any] = {
        "shards": len(markers),
        "tiles": tiles,
        "tile_size": tile_size,
        "megapixels": tiles * tile_size**2 / 1e6,
        "conditions": _conditions(folder, markers),
        "failures": dict(sorted(Counter(f.reason for f in recorded_failures(folder)).items())),
        "left_out": dict(sorted(left_out.items())),
    }
    return table, {
        "dataset.json": json_bytes(table, indent=1),
        "README.md": dataset_card(run, table),
        "croissant.json": croissant(run, table),
    }


def write_summary(folder: DatasetFolder) -> dict[str, Any]:
    """Writes the files that describe the whole, where every shard is finished; returns the contents of dataset.json."""
    table, files = _derived_files(folder)
    if table["shards"] < len(folder.shards()):
        return table
    write_failures(folder)
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
    """Markers without their files and failures, which may be many."""
    markers = (folder.read_marker(shard) for shard in folder.shards())
    return [replace(marker, files={}, failures=()) for marker in markers if marker]
