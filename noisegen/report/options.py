"""What can be asked of a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from noisegen.datasets.benchmarks import TABLES
from noisegen.datasets.pairs import Pair, read_pairs, splits_of

__all__ = ["ReportOptions"]

VALIDATE = "val"


@dataclass(frozen=True)
class ReportOptions:
    """Choices for a page.

    Attributes:
        pairs: table of real pairs to compare with; None for none.
        split: rows of that table to take; "" for all. None: of a dataset all; of a model or denoiser, which may have
            been trained on others, those marked "val" where there are such, else all.
        samples: pictures to show at most.
        seed: of their choice, and of noise that is drawn.
        photo: photograph to show a model's noise or a denoiser's work on; None for none.
        noisy_pool: path or URL of a table of real pairs for a noise model that takes references, see
            `noisegen.noisy_pool`.
        device: where models run, "auto", "cpu", "cuda" or "cuda:N".
    """

    pairs: Path | None = None
    split: str | None = None
    samples: int = 24
    seed: int = 0
    photo: Path | None = None
    noisy_pool: Path | str | None = None
    device: str = "auto"

    def read_pairs(self) -> list[Pair]:
        """The real pairs; empty where no table was given.

        Raises:
            UsageError: the table or a row of it is bad.
        """
        return [] if self.pairs is None else read_pairs(self.pairs, split=self.split or None)

    def for_scoring(self) -> Self:
        """With the split said that a model or denoiser is scored on; benchmarks that are no tables have none.

        Raises:
            UsageError: the table cannot be read.
        """
        if self.pairs is None or self.split is not None or self.pairs.suffix.lower() not in TABLES:
            return self
        return replace(self, split=VALIDATE if VALIDATE in splits_of(self.pairs) else "")
