"""What is known of a method's noise after scoring: one record for each camera and ISO, and the list of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from noisegen.conditions import Condition

__all__ = [
    "FLOOR",
    "METRICS",
    "ConditionScore",
    "Metric",
    "NoiseDetail",
    "NoiseScore",
    "Scores",
    "metric_value",
]

# The name under which real noise against real noise stands beside the methods.
FLOOR = "real halves"

Row = tuple[float, ...]


@dataclass(frozen=True)
class NoiseDetail:
    """The metrics beyond the cheap ones, with the curves and maps behind them.

    Of pairs of values the first is the real noise's, the second the synthetic one's.

    Attributes:
        kld_nm_detrended, acf_error_detrended: as in `NoiseScore`, after `drift.slow_part` was taken off both noises.
        drift: std of the slow part, grey levels.
        kld_naflow, akld: see `histogram_metrics`.
        spectrum_error_db: see `structure_metrics`.
        channel_error: mean absolute difference of the channel correlations; None for grey pictures.
        intensity_error, intensity_bias_error: see `intensity_metrics`; None where no tone has enough pixels.
        bias_error: mean over channels of |bias synthetic - bias real|, grey levels.
        acf: [2][direction x, y, diagonal][lag 0..4][channel].
        acf_map: [2][17][17], mean over channels; the middle is lag (0, 0).
        spectrum: [2][32], squared grey levels, see `structure_metrics.radial_spectrum`.
        channels: [2][R-G, G-B, R-B]; empty for grey pictures.
        intensity_std, intensity_bias: [2][channel][32], None in bins of the clean value with too few pixels.
        intensity_pixels: [channel][32].
        histogram: [2][513] pixels of all channels by noise of -256 .. 256 grey levels.
    """

    kld_nm_detrended: float
    acf_error_detrended: float
    drift: Row
    kld_naflow: float
    akld: float
    spectrum_error_db: float
    channel_error: float | None
    intensity_error: float | None
    intensity_bias_error: float | None
    bias_error: float
    acf: tuple[tuple[tuple[Row, ...], ...], ...]
    acf_map: tuple[tuple[Row, ...], ...]
    spectrum: tuple[Row, ...]
    channels: tuple[Row, ...]
    intensity_std: tuple[tuple[tuple[float | None, ...], ...], ...]
    intensity_bias: tuple[tuple[tuple[float | None, ...], ...], ...]
    intensity_pixels: tuple[Row, ...]
    histogram: tuple[Row, ...]


@dataclass(frozen=True)
class NoiseScore:
    """How near synthetic noise comes to real noise: means over pictures, in 8-bit grey levels.

    Attributes:
        kld_nm: `histogram_metrics.mean_patch_kld`, in nats.
        acf_error: `structure_metrics.acf_error` of the two mean autocorrelations below.
        std_error: `noise_metrics.std_error` of the two standard deviations below.
        acf_real, acf_synthetic: autocorrelation at `structure_metrics.ACF_LAGS`.
        std_real, std_synthetic: standard deviation per channel (root of the mean variance).
        bias_real, bias_synthetic: mean per channel.
        detail: where it was asked for.
    """

    kld_nm: float
    acf_error: float
    std_error: float
    acf_real: Row
    acf_synthetic: Row
    std_real: Row
    std_synthetic: Row
    bias_real: Row
    bias_synthetic: Row
    detail: NoiseDetail | None = None


@dataclass(frozen=True)
class ConditionScore:
    """The score of one camera and ISO of one dataset.

    Attributes:
        dataset: as in the table of pairs, or "".
        condition: camera and ISO.
        rule: how the model handled the ISO, see `ConditionMix.rule`; "" where it does not cover it.
        pictures: how many were scored.
        score: None where none could be.
        problems: why the condition, or which picture and why, is left out.
    """

    dataset: str
    condition: Condition
    rule: str
    pictures: int
    score: NoiseScore | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Metric:
    """A number that stands in the tables: 0 would be perfect, and lower is better.

    Attributes:
        name: field of `NoiseScore` or `NoiseDetail`.
        unit: "" for pure numbers.
        digits: behind the point in tables.
        meaning: for the heading of its table.
    """

    name: str
    unit: str
    digits: int
    meaning: str


METRICS = (
    Metric("kld_nm", "nats", 4, "histogram divergence over 96x96 patches, NM-FlowGAN protocol"),
    Metric("acf_error", "", 4, "difference of the autocorrelations, mean over nine lags"),
    Metric("std_error", "", 3, "relative difference of the noise's standard deviation"),
    Metric(
        "kld_nm_detrended",
        "nats",
        4,
        "the divergence of kld_nm after the slow part was taken off both noises",
    ),
    Metric(
        "acf_error_detrended",
        "",
        4,
        "the difference of acf_error after the slow part was taken off both noises",
    ),
    Metric("kld_naflow", "nats", 4, "histogram divergence of whole pictures, NAFlow protocol"),
    Metric("akld", "nats", 4, "divergence of the local variances, Yue et al. 2020, mean of 4 samples"),
    Metric("spectrum_error_db", "dB", 2, "difference of the radial power spectra"),
    Metric("channel_error", "", 4, "difference of the correlations between R, G and B"),
    Metric("intensity_error", "", 3, "relative difference of the std at each clean value"),
    Metric("intensity_bias_error", "grey levels", 3, "difference of the mean noise at each clean value"),
    Metric("bias_error", "grey levels", 3, "difference of the mean noise"),
)

Scores = Mapping[str, Sequence[ConditionScore]]  # by method; all of the same pairs


def metric_value(score: NoiseScore | None, name: str) -> float | None:
    """A metric by its name; None where there is no score, or the metric is not in it."""
    for part in (score, score.detail if score else None):
        if part is not None and hasattr(part, name):
            value: float | None = getattr(part, name)
            return value
    return None
