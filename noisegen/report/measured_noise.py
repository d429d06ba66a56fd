"""What the noise of a camera at an ISO is like, measured on a number of pictures: histogram, curves, map, spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisegen.evaluation.histogram_metrics import unit_histogram
from noisegen.evaluation.intensity_metrics import intensity_std, intensity_sums
from noisegen.evaluation.noise_metrics import grey_level_noise
from noisegen.evaluation.structure_metrics import autocorrelation_map, radial_spectrum

__all__ = ["MeasuredNoise", "NoiseMeter"]


@dataclass(frozen=True)
class MeasuredNoise:
    """The noise of some pictures, in 8-bit grey levels, all channels together.

    Attributes:
        pictures, pixels: how many were measured.
        histogram: int64 [513], see `histogram_metrics.unit_histogram`.
        std: float64 [32] by the clean value, NaN where few pixels are, see `intensity_metrics.intensity_std`.
        acf_map: float64 [17, 17], mean over pictures of `structure_metrics.autocorrelation_map`.
        spectrum: float64 [32], mean over pictures of `structure_metrics.radial_spectrum`.
    """

    pictures: int
    pixels: int
    histogram: np.ndarray
    std: np.ndarray
    acf_map: np.ndarray
    spectrum: np.ndarray

    @property
    def levels(self) -> np.ndarray:
        """Noise in grey levels that the histogram's bins stand for, int64 [513]."""
        return np.arange(len(self.histogram)) - len(self.histogram) // 2

    @property
    def total_std(self) -> float:
        """Standard deviation of all pixels together."""
        mean = np.average(self.levels, weights=self.histogram)
        return float(np.sqrt(np.average((self.levels - mean) ** 2, weights=self.histogram)))

    @property
    def neighbour(self) -> float:
        """Correlation with the next pixel, mean of right and below."""
        middle = len(self.acf_map) // 2
        return float((self.acf_map[middle, middle + 1] + self.acf_map[middle + 1, middle]) / 2)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "pictures": self.pictures,
            "pixels": self.pixels,
            "std": round(self.total_std, 4),
            "correlation_with_next_pixel": round(self.neighbour, 4),
            "histogram": {
                int(level): int(count)
                for level, count in zip(self.levels, self.histogram, strict=True)
                if count
            },
            "std_by_clean_value": [None if np.isnan(value) else round(float(value), 4) for value in self.std],
            "correlation_map": np.round(self.acf_map, 4).tolist(),
            "spectrum": np.round(self.spectrum, 4).tolist(),
        }


class NoiseMeter:
    """Adds up what is measured of noise, one picture after the other.

    Args:
        bit_depth: of the pictures' values, 8 to 16.
    """

    def __init__(self, bit_depth: int) -> None:
        self._bit_depth = bit_depth
        self._pictures = self._pixels = 0
        self._histogram, self._sums, self._acf_map, self._spectrum = (np.zeros(1) for _ in range(4))

    def add(self, noisy: np.ndarray, clean: np.ndarray) -> None:
        """Measures noisy - clean, each [H, W, C] uint8 or uint16, a side 3 pixels or more."""
        noise = grey_level_noise(noisy, clean, self._bit_depth)
        self._pictures += 1
        self._pixels += clean.shape[0] * clean.shape[1]
        self._histogram = self._histogram + unit_histogram(noise)
        self._sums = self._sums + intensity_sums(noise, clean, self._bit_depth).sum(axis=0)
        self._acf_map = self._acf_map + autocorrelation_map(noise).mean(axis=-1)
        self._spectrum = self._spectrum + radial_spectrum(noise)

    def result(self) -> MeasuredNoise | None:
        """What was measured; None where nothing was."""
        if not self._pictures:
            return None
        return MeasuredNoise(
            self._pictures,
            self._pixels,
            self._histogram.astype(np.int64),
            intensity_std(self._sums),
            self._acf_map / self._pictures,
            self._spectrum / self._pictures,
        )
