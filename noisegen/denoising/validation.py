"""Validation of a denoiser on real pairs: PSNR for each camera and ISO."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np

from noisegen.conditions import Condition
from noisegen.datasets.pairs import Pair, load_pair
from noisegen.denoising.dncnn import DnCNN
from noisegen.denoising.inference import Denoiser
from noisegen.errors import InputError, UsageError
from noisegen.training.distributed import Ranks

__all__ = ["DenoiserValidation", "DenoiserValidator"]


@dataclass(frozen=True)
class DenoiserValidation:
    """PSNR in dB after so many steps, mean over (camera, ISO) and for each of them."""

    step: int
    psnr: float
    conditions: tuple[tuple[str, int, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"step": self.step, "psnr": self.psnr, "conditions": [list(row) for row in self.conditions]}

    @classmethod
    def of_dict(cls, value: dict[str, Any]) -> DenoiserValidation:
        """The inverse of `to_dict`."""
        return cls(value["step"], value["psnr"], tuple((c, i, p) for c, i, p in value["conditions"]))


class DenoiserValidator:
    """Holds the pictures that are validated on.

    Args:
        pairs: real ones.
        crop: side of the central square that is taken, in pixels; 0 for all.
        channels, bit_depth: of the denoiser.
        device: where it runs.
        ranks: the processes that share the work.

    Raises:
        UsageError: a pair cannot be read or does not fit the denoiser.
    """

    def __init__(
        self, pairs: Sequence[Pair], *, crop: int, channels: int, bit_depth: int, device: str, ranks: Ranks
    ) -> None:
        self.device, self.ranks, self.largest = device, ranks, 2**bit_depth - 1
        self.pictures: list[tuple[Condition, np.ndarray, np.ndarray]] = []
        for pair in pairs:
            try:
                noisy, clean = load_pair(pair)
            except InputError as error:
                raise UsageError(f"pair {pair.name}: {error}") from error
            if clean.shape[2] != channels or max(noisy.max(), clean.max()) > self.largest:
                raise UsageError(
                    f"pair {pair.name} has {clean.shape[2]} channels and values up to {max(noisy.max(), clean.max())}; "
                    f"the denoiser takes {channels} channels of {bit_depth} bits"
                )
            box = tuple(_central(side, crop) for side in clean.shape[:2])
            self.pictures.append((pair.condition, noisy[box].copy(), clean[box].copy()))

    def __call__(self, model: DnCNN, step: int) -> DenoiserValidation:
        """Scores a denoiser; every rank comes back with the same result."""
        denoiser = Denoiser(model, device=self.device)
        part = self.pictures[self.ranks.rank :: self.ranks.size]
        own = [(c, self._psnr(denoiser.denoise(noisy), clean)) for c, noisy, clean in part]
        values: dict[Condition, list[float]] = defaultdict(list)
        for rows in self.ranks.gather(own):
            for condition, value in rows:
                values[condition].append(value)
        conditions = tuple((c.camera, c.iso, round(mean(values[c]), 4)) for c in sorted(values))
        return DenoiserValidation(step, round(mean(value for *_, value in conditions), 4), conditions)

    def _psnr(self, restored: np.ndarray, clean: np.ndarray) -> float:
        error = np.square(restored.astype(np.float64) - clean).mean()
        # of pictures without an error: as if one value were off by half a level
        return float(10 * np.log10(self.largest**2 / max(error, 0.25 / clean.size)))


def _central(side: int, crop: int) -> slice:
    if crop == 0 or side <= crop:
        return slice(None)
    return slice((side - crop) // 2, (side - crop) // 2 + crop)
