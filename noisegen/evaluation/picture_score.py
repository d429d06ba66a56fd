"""Scores one picture: what is measured of each noise, the comparison of two, and the mean over pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisegen.evaluation.drift import drift_std, slow_part
from noisegen.evaluation.histogram_metrics import (
    akld,
    kld_naflow,
    local_variance,
    mean_patch_kld,
    unit_histogram,
)
from noisegen.evaluation.intensity_metrics import (
    intensity_bias,
    intensity_bias_error,
    intensity_std,
    intensity_std_error,
    intensity_sums,
)
from noisegen.evaluation.noise_metrics import (
    diagonal_quadrants,
    interleaved_halves,
    noise_bias,
    noise_std,
    std_error,
)
from noisegen.evaluation.noise_score import NoiseDetail, NoiseScore
from noisegen.evaluation.structure_metrics import (
    acf_error,
    autocorrelation,
    autocorrelation_map,
    channel_correlation,
    directional_autocorrelation,
    radial_spectrum,
    spectrum_error_db,
)

__all__ = ["NoiseField", "PictureScore", "compare", "mean_score", "score_of_halves"]

# The least that keeps two windows of 7 pixels apart.
AKLD_STRIP = 8


@dataclass(frozen=True)
class NoiseField:
    """What is measured of the noise of one picture, real or synthetic.

    Attributes:
        noise: [H, W, C] in 8-bit grey levels.
        acf, std, bias: see `NoiseScore`.
        detail: for the other metrics.
    """

    noise: np.ndarray
    acf: np.ndarray
    std: np.ndarray
    bias: np.ndarray
    detail: FieldDetail | None

    @classmethod
    def of(cls, noise: np.ndarray, clean: np.ndarray, bit_depth: int, *, detailed: bool) -> NoiseField:
        """Measures noise [H, W, C] over a clean picture of ``bit_depth``."""
        return cls(
            noise,
            autocorrelation(noise),
            noise_std(noise),
            noise_bias(noise),
            FieldDetail.of(noise, clean, bit_depth) if detailed else None,
        )


@dataclass(frozen=True)
class FieldDetail:
    """Detrended noise [H, W, C], its acf, the std of what was taken off, and the curves of `NoiseDetail`."""

    detrended: np.ndarray
    acf_detrended: np.ndarray
    drift: float
    acf_map: np.ndarray
    spectrum: np.ndarray
    channels: np.ndarray
    intensity: np.ndarray
    histogram: np.ndarray

    @classmethod
    def of(cls, noise: np.ndarray, clean: np.ndarray, bit_depth: int) -> FieldDetail:
        slow = slow_part(noise)
        detrended = noise - slow
        return cls(
            detrended,
            autocorrelation(detrended),
            drift_std(slow),
            autocorrelation_map(noise),
            radial_spectrum(noise),
            channel_correlation(noise),
            intensity_sums(noise, clean, bit_depth),
            unit_histogram(noise),
        )


@dataclass(frozen=True)
class PictureScore:
    """One picture's comparison. Arrays start with an axis of 2, real and synthetic; sums and means come later."""

    kld_nm: float
    acf: np.ndarray
    std: np.ndarray
    bias: np.ndarray
    detail: PictureDetail | None


@dataclass(frozen=True)
class PictureDetail:
    """As `PictureScore`, for the metrics of `NoiseDetail`."""

    kld_nm_detrended: float
    kld_naflow: float
    akld: float
    acf_detrended: np.ndarray
    drift: np.ndarray
    acf_map: np.ndarray
    spectrum: np.ndarray
    channels: np.ndarray
    intensity: np.ndarray
    histogram: np.ndarray


def compare(real: NoiseField, synthetic: NoiseField, akld: float = 0.0) -> PictureScore:
    """Compares two noises of one picture.

    Args:
        real, synthetic: both with the detail or both without.
        akld: `histogram_metrics.akld`, mean over samples; counts only with the detail.
    """
    detail = None
    if real.detail and synthetic.detail:
        first, second = real.detail, synthetic.detail
        detail = PictureDetail(
            kld_nm_detrended=mean_patch_kld(first.detrended, second.detrended),
            kld_naflow=kld_naflow(real.noise, synthetic.noise),
            akld=akld,
            acf_detrended=np.stack([first.acf_detrended, second.acf_detrended]),
            drift=np.array([first.drift, second.drift]),
            acf_map=np.stack([first.acf_map, second.acf_map]),
            spectrum=np.stack([first.spectrum, second.spectrum]),
            channels=np.stack([first.channels, second.channels]),
            intensity=np.stack([first.intensity, second.intensity]),
            histogram=np.stack([first.histogram, second.histogram]),
        )
    return PictureScore(
        mean_patch_kld(real.noise, synthetic.noise),
        np.stack([real.acf, synthetic.acf]),
        np.stack([real.std, synthetic.std]),
        np.stack([real.bias, synthetic.bias]),
        detail,
    )


def score_of_halves(noise: np.ndarray, clean: np.ndarray, bit_depth: int) -> PictureScore:
    """The floor of every metric: one half of a real picture's noise against the other.

    Histograms, spread, bias and intensity curves compare `interleaved_halves`; autocorrelation, spectrum and
    channel correlation compare `diagonal_quadrants`, each quadrant measured alone and the two of a half averaged.
    For AKLD the map of local variances is dealt into strips of 8 pixels, so that each value is compared with the one
    8 pixels beside it, whose window holds other pixels. Drift is that of the whole picture on both sides.

    Args:
        noise: [H, W, C], each side 10 pixels or more.
        clean: [H, W, C].
        bit_depth: of ``clean``.
    """
    whole = FieldDetail.of(noise, clean, bit_depth)
    values, detrended, tones = (interleaved_halves(picture) for picture in (noise, whole.detrended, clean))
    variances = interleaved_halves(local_variance(noise), AKLD_STRIP)
    acf, acf_detrended, acf_map, spectrum, channels = (
        np.stack([np.mean([measure(part) for part in half], axis=0) for half in diagonal_quadrants(picture)])
        for measure, picture in (
            (autocorrelation, noise),
            (autocorrelation, whole.detrended),
            (autocorrelation_map, noise),
            (radial_spectrum, noise),
            (channel_correlation, noise),
        )
    )
    return PictureScore(
        mean_patch_kld(*values),
        acf,
        np.stack([noise_std(half) for half in values]),
        np.stack([noise_bias(half) for half in values]),
        PictureDetail(
            mean_patch_kld(*detrended),
            kld_naflow(*values),
            akld(*variances),
            acf_detrended,
            np.array([whole.drift, whole.drift]),
            acf_map,
            spectrum,
            channels,
            np.stack(
                [intensity_sums(half, tone, bit_depth) for half, tone in zip(values, tones, strict=True)]
            ),
            np.stack([unit_histogram(half) for half in values]),
        ),
    )


def mean_score(scores: Sequence[PictureScore]) -> NoiseScore:
    """The score of a condition: divergences, correlations, spectra and biases are averaged over its pictures,
    standard deviations and drift as variances; histograms and intensity curves are of all pixels together."""
    acf, bias = (_mean([getattr(score, name) for score in scores]) for name in ("acf", "bias"))
    std = np.sqrt(_mean([score.std**2 for score in scores]))
    details = [score.detail for score in scores if score.detail]
    return NoiseScore(
        kld_nm=float(_mean([score.kld_nm for score in scores])),
        acf_error=acf_error(*acf),
        std_error=std_error(*std),
        acf_real=_nested(acf[0]),
        acf_synthetic=_nested(acf[1]),
        std_real=_nested(std[0]),
        std_synthetic=_nested(std[1]),
        bias_real=_nested(bias[0]),
        bias_synthetic=_nested(bias[1]),
        detail=_mean_detail(details, bias) if details else None,
    )


def _mean_detail(details: Sequence[PictureDetail], bias: np.ndarray) -> NoiseDetail:
    acf, acf_map, spectrum, channels = (
        _mean([getattr(detail, name) for detail in details])
        for name in ("acf_detrended", "acf_map", "spectrum", "channels")
    )
    intensity = np.sum([detail.intensity for detail in details], axis=0)
    kld_nm_detrended, naflow, mean_akld = (
        float(_mean([getattr(detail, name) for detail in details]))
        for name in ("kld_nm_detrended", "kld_naflow", "akld")
    )
    return NoiseDetail(
        kld_nm_detrended=kld_nm_detrended,
        acf_error_detrended=acf_error(*acf),
        drift=_nested(np.sqrt(_mean([detail.drift**2 for detail in details]))),
        kld_naflow=naflow,
        akld=mean_akld,
        spectrum_error_db=spectrum_error_db(*spectrum),
        channel_error=float(np.abs(channels[1] - channels[0]).mean()) if channels.size else None,
        intensity_error=_known(intensity_std_error(*intensity)),
        intensity_bias_error=_known(intensity_bias_error(*intensity)),
        bias_error=float(np.abs(bias[1] - bias[0]).mean()),
        acf=_nested(np.stack([directional_autocorrelation(side) for side in acf_map])),
        acf_map=_nested(acf_map.mean(axis=-1)),
        spectrum=_nested(spectrum),
        channels=_nested(channels),
        intensity_std=_nested(intensity_std(intensity)),
        intensity_bias=_nested(intensity_bias(intensity)),
        intensity_pixels=_nested(intensity[0, ..., 0]),
        histogram=_nested(np.sum([detail.histogram for detail in details], axis=0)),
    )


def _mean(values: Sequence[np.ndarray] | Sequence[float]) -> np.ndarray:
    return np.mean(values, axis=0)


def _nested(values: np.ndarray) -> tuple[Any, ...]:
    """Plain tuples, with None for NaN, that compare and serialise."""
    if values.ndim == 1:
        return tuple(_known(value) for value in values.tolist())
    return tuple(_nested(part) for part in values)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
