"""What is written at the end of a build: counts, card, table of shards, list of failures, contact sheet."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from noisegen.errors import InputError
from noisegen.png import decode_png
from noisegen.synthesis.card import dataset_card
from noisegen.synthesis.contact_sheet import contact_sheet
from noisegen.synthesis.croissant import croissant
from noisegen.synthesis.files import json_bytes, write_atomically
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.layout import SUMMARY_FILES, DatasetFolder
from noisegen.synthesis.making import Built
from noisegen.synthesis.profile import Profile
from noisegen.synthesis.rank import Rank
from noisegen.synthesis.shards import Failure
from noisegen.synthesis.survey import Survey, Totals, surveyed

__all__ = ["BuildSummary", "disagreements", "write_summary"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildSummary:
    """The outcome of a build, see `noisegen.build_dataset`.

    Attributes:
        output: the dataset's folder or URL.
        rank, world_size: of this process among those that build together; 0 of 1 where it builds alone.
        complete: whether all shards are there and described; a rank that is not the last leaves that to others.
        shards, shards_built: that this process is to make (all, where it is alone), and that this call made.
        tiles: in these shards.
        megapixels: of their noisy tiles.
        failures: manifest rows that gave no tiles, by reason.
        left_out: tiles that the selection left out, by reason.
        seconds: that this call took.
        lost: rows of shards to be retried that have tiles but fail now; those shards were kept as they were.
        profile: where the time went, where that was asked for.
    """

    output: str
    rank: int
    world_size: int
    complete: bool
    shards: int
    shards_built: int
    tiles: int
    megapixels: float
    failures: dict[str, int]
    left_out: dict[str, int]
    seconds: float
    lost: tuple[Failure, ...] = ()
    profile: Profile | None = None

    @classmethod
    def of(
        cls, folder: DatasetFolder, tile_size: int, built: Built, rank: Rank, complete: bool, seconds: float
    ) -> BuildSummary:
        """The outcome of what a process was to make."""
        table = built.totals.to_dict(tile_size)
        return cls(
            output=folder.place,
            rank=rank.number,
            world_size=rank.size,
            complete=complete,
            shards=table["shards"],
            shards_built=built.shards,
            tiles=table["tiles"],
            megapixels=table["megapixels"],
            failures=table["failures"],
            left_out=table["left_out"],
            seconds=seconds,
            lost=built.lost,
            profile=built.profile,
        )

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
        if self.world_size > 1:
            lines[0] = f"rank {self.rank} of {self.world_size}: {lines[0]}"
            lines.append(
                f"all ranks are done, {self.output} is complete"
                if self.complete
                else "its share is done; the rank that is the last to finish completes the dataset"
            )
        if self.left_out:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.left_out.items())
            lines.append(f"{sum(self.left_out.values())} tiles were left out by the selection ({reasons})")
        if self.failures:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.failures.items())
            where = f"{self.output}/failures.jsonl" + ("" if self.complete else " once it is complete")
            lines.append(f"{sum(self.failures.values())} photographs failed ({reasons}), see {where}")
        lines += [
            f"kept as it was: the shard of row {failure.row}, which has tiles but cannot be used now: {failure.message}"
            for failure in self.lost
        ]
        if self.profile is not None:
            lines.append(self.profile.text())
        return "\n".join(lines)


def write_summary(folder: DatasetFolder, check_stop: Callable[[], None] = lambda: None) -> Totals:
    """Writes the files that describe the whole, dataset.json last. Every shard has to be finished.

    Args:
        folder: the dataset.
        check_stop: called often; may raise.
    """
    with surveyed(folder, check_stop) as survey:
        write_atomically(folder.root / "failures.jsonl", survey.failure_lines())
        write_atomically(folder.root / "shards.parquet", survey.shards_file())
        output_format = format_named(folder.read_run()["config"]["format"])
        sheet = contact_sheet(folder, output_format, survey.shards["tiles"].to_numpy())
        if sheet is not None:
            write_atomically(folder.root / "contact_sheet.png", sheet)
        for name, content in _texts(folder, survey).items():
            write_atomically(folder.root / name, content)
        logger.info("%s is complete: card, list of failures and table of shards are written", folder.place)
        return survey.totals


def disagreements(folder: DatasetFolder) -> list[str]:
    """What is wrong with the files that `write_summary` writes, where all shards are finished and whole."""
    folder.fetch(SUMMARY_FILES)
    with surveyed(folder) as survey:
        texts = _texts(folder, survey)
        needed = [*texts, "shards.parquet", "failures.jsonl"]
        missing = [name for name in needed if not (folder.root / name).exists()]
        if missing:
            return [f"{', '.join(sorted(missing))} missing, so the build has not come to its end"]
        agrees = {name: (folder.root / name).read_bytes() == text for name, text in texts.items()}
        agrees["shards.parquet"] = _same_table(folder, survey.shards)
        with (folder.root / "failures.jsonl").open("rb") as file:
            agrees["failures.jsonl"] = all(a == b for a, b in zip_longest(file, survey.failure_lines()))
    problems = [
        f"{name} does not agree with the shards" for name, agreed in sorted(agrees.items()) if not agreed
    ]
    sheet = folder.root / "contact_sheet.png"
    try:
        # its pixels may differ by the versions of the libraries that draw it, so only damage is looked for
        if sheet.exists():
            decode_png(sheet.read_bytes())
    except InputError as error:
        problems.append(f"contact_sheet.png cannot be decoded: {error}")
    return problems


def _texts(folder: DatasetFolder, survey: Survey) -> dict[str, bytes]:
    """The content of the card and the like, by name; dataset.json last."""
    run = folder.read_run()
    table: dict[str, Any] = survey.totals.to_dict(int(run["config"]["tile_size"]))
    return {
        "README.md": dataset_card(run, table),
        "croissant.json": croissant(run, table),
        "dataset.json": json_bytes(table, indent=1),
    }


def _same_table(folder: DatasetFolder, shards: pa.Table) -> bool:
    """Whether shards.parquet holds this table; its bytes may differ by the version of the library."""
    try:
        stored = pq.read_table(io.BytesIO((folder.root / "shards.parquet").read_bytes()))
    except (pa.ArrowException, OSError):
        return False
    return bool(stored.equals(shards))
