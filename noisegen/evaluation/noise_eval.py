"""Scores noise models on real pairs: every pair is decoded once, and every method is measured on the same pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from noisegen.conditions import Condition
from noisegen.datasets.pairs import Pair, load_pair
from noisegen.errors import InputError
from noisegen.evaluation.histogram_metrics import akld, local_variance
from noisegen.evaluation.method_cost import MethodCost, draw_rate, parameter_count
from noisegen.evaluation.noise_metrics import grey_level_noise
from noisegen.evaluation.noise_score import FLOOR, ConditionScore, NoiseScore
from noisegen.evaluation.picture_score import NoiseField, PictureScore, compare, mean_score, score_of_halves
from noisegen.evaluation.structure_metrics import LONGEST_LAG
from noisegen.models.protocol import NoiseModel, ReferencedModel
from noisegen.models.references import ReferencePool, WithPool, describe_picture, resolve_condition
from noisegen.synthesis.engine import synthesize

__all__ = [
    "DEFAULT_CROP",
    "TILE_SIZE",
    "ConditionScore",
    "Evaluation",
    "NoiseScore",
    "ScoredPicture",
    "central_crop",
    "evaluate_methods",
    "evaluate_noise",
]

DEFAULT_CROP = 768
TILE_SIZE = 256
AKLD_SAMPLES = 4
AKLD_SIDE = 256
# So that a quadrant still has every lag of the autocorrelation.
MIN_SIDE = 2 * (LONGEST_LAG + 1)


@dataclass(frozen=True)
class ScoredPicture:
    """The pixels that were scored, for tests and pictures that need more than numbers.

    Attributes:
        pair: where they come from.
        clean, real: [H, W, C] uint8 or uint16.
        synthetic: the noisy picture of each method that covers the condition.
    """

    pair: Pair
    clean: np.ndarray
    real: np.ndarray
    synthetic: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Evaluation:
    """Scores and costs by method, in the order given.

    Attributes:
        methods: the scores.
        floor: of real noise against itself; empty without detail.
        costs: empty without detail.
    """

    methods: Mapping[str, list[ConditionScore]]
    floor: list[ConditionScore]
    costs: Mapping[str, MethodCost]


@dataclass
class _Group:
    """What is known of one method at one condition so far."""

    rule: str = ""
    scores: list[PictureScore] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def row(self, dataset: str, condition: Condition) -> ConditionScore:
        score = mean_score(self.scores) if self.scores else None
        return ConditionScore(dataset, condition, self.rule, len(self.scores), score, tuple(self.problems))


def evaluate_noise(
    model: NoiseModel,
    pairs: Sequence[Pair],
    *,
    seed: int = 0,
    tile_size: int = TILE_SIZE,
    crop: int = DEFAULT_CROP,
    device: str = "cpu",
    paired: bool = False,
    advance: Callable[[int], object] = lambda pixels: None,
) -> list[ConditionScore]:
    """The cheap metrics of one model (kld_nm, acf_error, std and bias): `evaluate_methods` without detail.

    Returns:
        One row for each (dataset, camera, ISO) of the pairs, sorted. A condition that the model does not
        cover and a picture that cannot be read or scored are named in ``problems`` and never replaced.
    """
    evaluation = evaluate_methods(
        {"model": model},
        pairs,
        seed=seed,
        tile_size=tile_size,
        crop=crop,
        device=device,
        detailed=False,
        paired=("model",) if paired else (),
        advance=advance,
    )
    return evaluation.methods["model"]


def evaluate_methods(
    methods: Mapping[str, NoiseModel],
    pairs: Sequence[Pair],
    *,
    seed: int = 0,
    tile_size: int = TILE_SIZE,
    crop: int = DEFAULT_CROP,
    device: str = "cpu",
    detailed: bool = True,
    paired: Collection[str] = (),
    see: Callable[[ScoredPicture], object] = lambda picture: None,
    advance: Callable[[int], object] = lambda pixels: None,
) -> Evaluation:
    """Synthesizes the noise of each clean picture with each method and compares it with the real noise.

    Of each picture the central square is used. Metrics are averaged over the pictures of a (dataset, camera,
    ISO); `noise_means.mean_scores` averages those over conditions. One pair is in memory at a time.

    Args:
        methods: noise models on ``device``, by the name they have in tables.
        pairs: read one at a time, each once.
        seed: with a pair's name and the pixel's position it determines the noise, the same for each method.
        tile_size: side of the tiles that the models run on.
        crop: side of the central square in pixels; 0 for whole pictures.
        device: ``"cpu"`` or ``"cuda"``.
        detailed: whether to measure `NoiseDetail`, the floor and the costs too; this takes five more tiles a picture
            (AKLD is the mean of 4 samples, taken of the central 256 pixels; two are drawn for the speed) and about a
            second a megapixel.
        paired: names of methods that take each pair's own noisy picture for their reference.
        see: is handed each picture after it was scored.
        advance: told the number of pixels scored, for each pair and method.

    Returns:
        For each method, and for the floor, one row for each (dataset, camera, ISO) of the pairs, sorted; and each
        method's cost.
    """
    groups: dict[tuple[str, Condition], list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.dataset or "", pair.condition].append(pair)
    names = [*methods, FLOOR]
    rows: dict[str, list[ConditionScore]] = {name: [] for name in names}
    rates: dict[str, list[float]] = {name: [] for name in methods}
    for (dataset, condition), members in sorted(groups.items()):
        group = {name: _Group() for name in names}
        for name, model in methods.items():
            try:
                group[name].rule = resolve_condition(model, condition).rule
            except InputError as error:
                group[name].problems.append(f"not covered: {error}")
        for pair in members:
            try:
                scorer = _PairScorer(pair, crop, seed, tile_size, device, detailed)
            except InputError as error:
                for name in names:
                    if name == FLOOR or group[name].rule:
                        group[name].problems.append(f"{pair.name} left out: {error}")
                for _ in methods:
                    advance(0)
                continue
            for name, model in methods.items():
                try:
                    if group[name].rule:
                        drawing = scorer.with_own_picture(model) if name in paired else model
                        group[name].scores.append(scorer.score(name, drawing))
                        if detailed:
                            rates[name].append(scorer.draw_rate(drawing))
                except InputError as error:
                    group[name].problems.append(f"{pair.name} left out: {error}")
                advance(scorer.clean.shape[0] * scorer.clean.shape[1])
            if detailed:
                group[FLOOR].scores.append(scorer.floor())
            see(scorer.picture())
        for name in names:
            rows[name].append(group[name].row(dataset, condition))
    floor = rows.pop(FLOOR)
    if not detailed:
        return Evaluation(rows, [], {})
    costs = {
        name: MethodCost(parameter_count(model), float(np.median(rates[name])) if rates[name] else None)
        for name, model in methods.items()
    }
    return Evaluation(rows, floor, costs)


def central_crop(image: np.ndarray, side: int) -> np.ndarray:
    """The central square of [H, W, C], or all of a shorter side; ``side`` 0 keeps the picture."""
    if side == 0:
        return image
    height, width = image.shape[:2]
    y, x = max(height - side, 0) // 2, max(width - side, 0) // 2
    return np.ascontiguousarray(image[y : y + side, x : x + side])


class _PairScorer:
    """One decoded pair; what is measured of its real noise is kept for the next method."""

    def __init__(self, pair: Pair, crop: int, seed: int, tile_size: int, device: str, detailed: bool) -> None:
        self.pair, self.seed, self.tile_size, self.device, self.detailed = (
            pair,
            seed,
            tile_size,
            device,
            detailed,
        )
        self.noisy, self.clean = (central_crop(image, crop) for image in load_pair(pair))
        if min(self.clean.shape[:2]) < MIN_SIDE:
            raise InputError("too_small", f"{pair.clean_path}: a side of {MIN_SIDE} pixels or more is needed")
        self._real: dict[int, NoiseField] = {}
        self._synthetic: dict[str, np.ndarray] = {}

    def with_own_picture(self, model: NoiseModel) -> NoiseModel:
        """The model with the pair's own noisy picture for its reference."""
        assert isinstance(model, ReferencedModel)
        condition = self.pair.condition
        described = describe_picture(model, self.noisy, self.clean, condition, device=self.device)
        return WithPool(model, ReferencePool.of([(condition, described)]))

    def score(self, name: str, model: NoiseModel) -> PictureScore:
        noisy = self._synthesize(model, self.clean, 0)
        self._synthetic[name] = noisy
        synthetic = self._field(noisy, model.bit_depth)
        real = self._field_of_real(model.bit_depth)
        return compare(real, synthetic, self._akld(model, noisy) if self.detailed else 0.0)

    def draw_rate(self, model: NoiseModel) -> float:
        condition, side = self.pair.condition, self.tile_size
        return draw_rate(model, self.clean, condition, tile_size=side, device=self.device)

    def floor(self) -> PictureScore:
        # of the depth of the methods; where none could be scored, that of the file
        depth = next(iter(self._real), 8 * self.clean.dtype.itemsize)
        return score_of_halves(self._field_of_real(depth).noise, self.clean, depth)

    def picture(self) -> ScoredPicture:
        return ScoredPicture(self.pair, self.clean, self.noisy, dict(self._synthetic))

    def _akld(self, model: NoiseModel, first: np.ndarray) -> float:
        clean, real, sample = (central_crop(image, AKLD_SIDE) for image in (self.clean, self.noisy, first))
        samples = [sample, *(self._synthesize(model, clean, n) for n in range(1, AKLD_SAMPLES))]
        truth = local_variance(grey_level_noise(real, clean, model.bit_depth))
        return float(
            np.mean(
                [
                    akld(truth, local_variance(grey_level_noise(noisy, clean, model.bit_depth)))
                    for noisy in samples
                ]
            )
        )

    def _synthesize(self, model: NoiseModel, clean: np.ndarray, variant: int) -> np.ndarray:
        return synthesize(
            model,
            clean,
            self.pair.condition,
            seed=self.seed,
            image_id=self.pair.name,
            variant=variant,
            tile_size=self.tile_size,
            device=self.device,
        )

    def _field(self, noisy: np.ndarray, bit_depth: int) -> NoiseField:
        noise = grey_level_noise(noisy, self.clean, bit_depth)
        return NoiseField.of(noise, self.clean, bit_depth, detailed=self.detailed)

    def _field_of_real(self, bit_depth: int) -> NoiseField:
        if bit_depth not in self._real:
            self._real[bit_depth] = self._field(self.noisy, bit_depth)
        return self._real[bit_depth]
