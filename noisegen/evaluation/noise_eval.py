"""Scores a noise model on real pairs: one row of metrics for each camera and ISO, and their means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from noisegen.conditions import Condition
from noisegen.datasets.pairs import Pair, load_pair
from noisegen.errors import InputError
from noisegen.evaluation.noise_metrics import (
    ACF_LAGS,
    acf_error,
    autocorrelation,
    grey_level_noise,
    mean_patch_kld,
    noise_bias,
    noise_std,
)
from noisegen.models.protocol import NoiseModel
from noisegen.synthesis.engine import synthesize

__all__ = ["DEFAULT_CROP", "ConditionScore", "NoiseScore", "central_crop", "evaluate_noise"]

DEFAULT_CROP = 768


@dataclass(frozen=True)
class NoiseScore:
    """How near synthetic noise comes to real noise: means over pictures, in 8-bit grey levels.

    Attributes:
        kld_nm: `noise_metrics.mean_patch_kld`, in nats.
        acf_error: `noise_metrics.acf_error` of the two mean autocorrelations below.
        acf_real, acf_synthetic: autocorrelation at `noise_metrics.ACF_LAGS`.
        std_real, std_synthetic: standard deviation per channel (root of the mean variance).
        bias_real, bias_synthetic: mean per channel.
    """

    kld_nm: float
    acf_error: float
    acf_real: tuple[float, ...]
    acf_synthetic: tuple[float, ...]
    std_real: tuple[float, ...]
    std_synthetic: tuple[float, ...]
    bias_real: tuple[float, ...]
    bias_synthetic: tuple[float, ...]


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
class _PictureScore:
    kld_nm: float
    acf: np.ndarray  # [2, lags], real and synthetic, as in the next two
    std: np.ndarray  # [2, C]
    bias: np.ndarray  # [2, C]


def evaluate_noise(
    model: NoiseModel,
    pairs: Sequence[Pair],
    *,
    seed: int = 0,
    tile_size: int = 256,
    crop: int = DEFAULT_CROP,
    device: str = "cpu",
    advance: Callable[[], object] = lambda: None,
) -> list[ConditionScore]:
    """Synthesizes the noise of each clean picture once and compares it with the real noise.

    Of each picture the central square is used, the same for every model. Metrics are averaged over the
    pictures of a (dataset, camera, ISO); `noise_tables.mean_scores` averages those over conditions.

    Args:
        model: a noise model on ``device``.
        pairs: read one at a time.
        seed: with a pair's name and the pixel's position it determines the noise.
        tile_size: side of the tiles that the model runs on.
        crop: side of the central square in pixels; 0 for whole pictures.
        device: ``"cpu"`` or ``"cuda"``.
        advance: called after each pair.

    Returns:
        One row for each (dataset, camera, ISO) of the pairs, sorted. A condition that the model does not
        cover and a picture that cannot be read or scored are named in ``problems`` and never replaced.
    """
    groups: dict[tuple[str, Condition], list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.dataset or "", pair.condition].append(pair)
    rows = []
    for (dataset, condition), members in sorted(groups.items()):
        rule, scores, problems = "", [], []
        try:
            rule = model.vocabulary.resolve(condition).rule
        except InputError as error:
            problems.append(f"not covered: {error}")
        for pair in members:
            try:
                if rule:
                    scores.append(_score_pair(model, pair, seed, tile_size, crop, device))
            except InputError as error:
                problems.append(f"{pair.name} left out: {error}")
            advance()
        score = _mean_score(scores) if scores else None
        rows.append(ConditionScore(dataset, condition, rule, len(scores), score, tuple(problems)))
    return rows


def central_crop(image: np.ndarray, side: int) -> np.ndarray:
    """The central square of [H, W, C], or all of a shorter side; ``side`` 0 keeps the picture."""
    if side == 0:
        return image
    height, width = image.shape[:2]
    y, x = max(height - side, 0) // 2, max(width - side, 0) // 2
    return np.ascontiguousarray(image[y : y + side, x : x + side])


def _score_pair(
    model: NoiseModel, pair: Pair, seed: int, tile_size: int, crop: int, device: str
) -> _PictureScore:
    noisy, clean = (central_crop(image, crop) for image in load_pair(pair))
    longest = max(max(lag) for lag in ACF_LAGS)
    if min(clean.shape[:2]) <= longest:
        raise InputError("too_small", f"{pair.clean_path}: a side of {longest + 1} pixels or more is needed")
    synthetic = synthesize(
        model, clean, pair.condition, seed=seed, image_id=pair.name, tile_size=tile_size, device=device
    )
    noises = [grey_level_noise(picture, clean, model.bit_depth) for picture in (noisy, synthetic)]
    return _PictureScore(
        mean_patch_kld(*noises),
        np.stack([autocorrelation(noise) for noise in noises]),
        np.stack([noise_std(noise) for noise in noises]),
        np.stack([noise_bias(noise) for noise in noises]),
    )


def _mean_score(scores: Sequence[_PictureScore]) -> NoiseScore:
    acf = np.mean([score.acf for score in scores], axis=0)
    std = np.sqrt(np.mean([score.std**2 for score in scores], axis=0))
    bias = np.mean([score.bias for score in scores], axis=0)
    rows = [tuple(values.tolist()) for pair in (acf, std, bias) for values in pair]
    return NoiseScore(float(np.mean([score.kld_nm for score in scores])), acf_error(*acf), *rows)
