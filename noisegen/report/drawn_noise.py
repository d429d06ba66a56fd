"""What a noise model's noise is like at a camera and ISO: drawn on made pictures and measured, without real pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from noisegen.conditions import Condition
from noisegen.errors import InputError
from noisegen.evaluation.intensity_metrics import INTENSITY_BINS
from noisegen.evaluation.noise_metrics import grey_level_noise
from noisegen.evaluation.structure_metrics import channel_correlation
from noisegen.report.measured_noise import MeasuredNoise, NoiseMeter
from noisegen.synthesis.photograph_noise import PhotographNoise

__all__ = ["FLAT_LEVEL", "TONES", "DrawnNoise", "measure_noise"]

# Clean values, in 8-bit grey levels, that stand for dark, middle and bright tones: middles of bins.
TONES = {"dark": 36, "middle": 124, "bright": 220}
FLAT_LEVEL = 128
FLAT_SIDE = 256
RAMP_HEIGHT, RAMP_WIDTH = 256, 512


@dataclass(frozen=True)
class DrawnNoise:
    """The noise of a model at a condition, in 8-bit grey levels.

    Attributes:
        condition: camera and ISO.
        ramp: measured on a ramp from black to white.
        flat: measured on a flat surface of `FLAT_LEVEL`.
        channels: `structure_metrics.channel_correlation` on the flat surface.
    """

    condition: Condition
    ramp: MeasuredNoise
    flat: MeasuredNoise
    channels: np.ndarray

    def tone_std(self, tone: str) -> float:
        """Standard deviation at one of `TONES`."""
        return float(self.ramp.std[TONES[tone] * INTENSITY_BINS // 256])


def measure_noise(
    noise: PhotographNoise,
    conditions: Sequence[Condition],
    *,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> tuple[list[DrawnNoise], list[str]]:
    """Draws and measures noise at each condition: 0.2 megapixels each.

    Args:
        noise: the model.
        conditions: some that it knows.
        seed: of the noise.
        advance: called after each condition.

    Returns:
        What was measured, and for each condition that could not be drawn one line that says why.
    """
    channels, bits = noise.model.channels, noise.model.bit_depth
    ramp, flat = _ramp(channels, bits), _flat(channels, bits)
    found, problems = [], []
    for condition in conditions:
        try:
            on_ramp = noise.add(ramp, condition, seed=seed, image_id="ramp")
            on_flat = noise.add(flat, condition, seed=seed, image_id="flat")
        except InputError as error:
            problems.append(f"{condition.camera} ISO {condition.iso}: {error}")
        else:
            between = channel_correlation(grey_level_noise(on_flat, flat, bits))
            found.append(
                DrawnNoise(condition, _measured(on_ramp, ramp, bits), _measured(on_flat, flat, bits), between)
            )
        advance()
    return found, problems


def _measured(noisy: np.ndarray, clean: np.ndarray, bits: int) -> MeasuredNoise:
    meter = NoiseMeter(bits)
    meter.add(noisy, clean)
    result = meter.result()
    assert result is not None  # a picture was added
    return result


def _ramp(channels: int, bits: int) -> np.ndarray:
    """Black at the left, white at the right, neutral."""
    row = np.arange(RAMP_WIDTH) * 2**bits // RAMP_WIDTH
    return np.broadcast_to(row[None, :, None], (RAMP_HEIGHT, RAMP_WIDTH, channels)).astype(_dtype(bits))


def _flat(channels: int, bits: int) -> np.ndarray:
    return np.full((FLAT_SIDE, FLAT_SIDE, channels), FLAT_LEVEL << (bits - 8), _dtype(bits))


def _dtype(bits: int) -> type[np.unsignedinteger]:
    return np.uint8 if bits == 8 else np.uint16
