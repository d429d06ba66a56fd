"""The classifier two-sample test: can a small CNN, trained to, tell real noise from synthetic noise?

Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests" (2017): where two distributions are equal no classifier
does better than 0.5 on held-out data. The converse depends on the classifier, so accuracies compare only under
one protocol, this one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from noisegen.conditions import Condition
from noisegen.errors import UsageError
from noisegen.evaluation.two_sample_network import PatchClassifier, train_classifier
from noisegen.evaluation.two_sample_patches import (
    PATCH,
    Patches,
    PatchSource,
    Region,
    draw_test,
    draw_training,
    joined,
    regions,
)

__all__ = ["EPOCHS", "PictureTriple", "Telltale", "TwoSampleScore", "two_sample_floor", "two_sample_test"]

Key = tuple[str, Condition]

EPOCHS = 6
TEST_SHARE = 4  # one place of a test patch for so many training patches
TEST_BATCH = 200
FLIPS: tuple[list[int], ...] = ([], [2], [3], [2, 3])
TELLTALES = 2  # of each class and condition


@dataclass(frozen=True)
class PictureTriple:
    """A clean picture with its real and its synthetic noisy version.

    Attributes:
        real, synthetic, clean: [H, W, C] uint8 or uint16 of one shape.
        condition: camera and ISO.
        dataset: its source, or "".
    """

    real: np.ndarray
    synthetic: np.ndarray
    clean: np.ndarray
    condition: Condition
    dataset: str


@dataclass(frozen=True)
class Telltale:
    """A test patch that the classifier got right and was most sure of.

    Attributes:
        noise, clean: float32 [p, p, C] in 8-bit grey levels.
        synthetic: which class it is.
        probability: of being synthetic, in the classifier's view.
        condition: camera and ISO.
    """

    noise: np.ndarray
    clean: np.ndarray
    synthetic: bool
    probability: float
    condition: Condition


@dataclass(frozen=True)
class TwoSampleScore:
    """How well real and synthetic patches are told apart.

    Attributes:
        accuracy: share of test patches that are rightly told, the mean over conditions; 0.5 is perfection.
        standard_error: of it, from the scatter over the cells of 72x72 pixels that test patches come from.
        by_condition: accuracy by (dataset, condition).
        patches: that the classifier was trained on, both classes together.
        telltales: the surest two of each class and condition.
    """

    accuracy: float
    standard_error: float
    by_condition: Mapping[Key, float]
    patches: int
    telltales: tuple[Telltale, ...]


def two_sample_test(
    pictures: Sequence[PictureTriple],
    *,
    bit_depth: int,
    patches: int = 20_000,
    seed: int = 0,
    device: str = "cpu",
    epochs: int = EPOCHS,
    advance: Callable[[], object] = lambda: None,
) -> TwoSampleScore:
    """Trains a `PatchClassifier` to tell real from synthetic 32x32 patches and tests it on others.

    Conditions are drawn equally, and within one every place of a training region is as likely as every
    other; each drawn place gives a real and a synthetic patch, so the scene tells nothing. Each picture is
    cut into a chessboard of training and test regions that share no pixel, see `two_sample_patches.regions`.
    The noise is seen relative to the standard deviation of the condition's real noise, without its mean over the
    patch (drift in brightness is not noise; the bias is measured by other metrics), beside the clean patch.
    A test patch is judged by the mean over its four flips.

    The same call gives the same score on the same machine with the same number of threads.

    Args:
        pictures: of one number of channels and bit depth.
        bit_depth: bits of their values, 8 to 16.
        patches: to train on, both classes together.
        seed: of the draws, the initial weights and the training.
        device: ``"cpu"`` or ``"cuda"``.
        epochs: how often each training patch is seen.
        advance: called after each epoch.

    Returns:
        The score. A condition whose pictures are too small for both kinds of regions is left out.

    Raises:
        UsageError: all conditions are left out, or `patches` is less than two for each condition.
    """
    return _run(pictures, bit_depth, patches, seed, device, epochs, advance, floor=False)


def two_sample_floor(
    pictures: Sequence[PictureTriple],
    *,
    bit_depth: int,
    patches: int = 20_000,
    seed: int = 0,
    device: str = "cpu",
    epochs: int = EPOCHS,
    advance: Callable[[], object] = lambda: None,
) -> TwoSampleScore:
    """`two_sample_test` of real noise against real noise: what identical distributions score, near 0.5.

    The synthetic pictures are not looked at. Half of the real patches, drawn at random, count as synthetic.
    """
    return _run(pictures, bit_depth, patches, seed, device, epochs, advance, floor=True)


def _run(
    pictures: Sequence[PictureTriple],
    bit_depth: int,
    patches: int,
    seed: int,
    device: str,
    epochs: int,
    advance: Callable[[], object],
    *,
    floor: bool,
) -> TwoSampleScore:
    if floor:
        pictures = [replace(picture, synthetic=picture.real) for picture in pictures]
    cells = _cells_by_condition(pictures)
    keys = sorted(cells)
    if not keys:
        raise UsageError(
            "no condition has pictures large enough for the two-sample test; "
            f"it needs training and test regions of {PATCH}x{PATCH} pixels and more"
        )
    half = patches // (2 * len(keys))
    if half < 1:
        raise UsageError(f"{patches} patches are fewer than two for each of {len(keys)} conditions")
    rng = np.random.default_rng(seed)
    training, test = [], []
    for key in keys:
        learn, judge = ([cell for cell in cells[key] if cell.training is use] for use in (True, False))
        drawn = draw_training(learn, half * (2 if floor else 1), rng)
        held_out = draw_test(judge, max(patches // TEST_SHARE // len(keys), 2), rng)
        training.append(drawn.halved(rng) if floor else drawn.as_both())
        test.append(held_out.halved(rng) if floor else held_out.as_both())
    learned = joined(training)
    scales = {key: _noise_std(pictures, key) for key in keys}
    source = PatchSource(
        [(picture.real, picture.synthetic) for picture in pictures],
        [picture.clean for picture in pictures],
        [scales.get((picture.dataset, picture.condition), 1.0) for picture in pictures],
        bit_depth,
        device,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = PatchClassifier(pictures[0].clean.shape[2])
    classifier = classifier.to(device)
    train_classifier(
        classifier,
        lambda numbers: source.batch(learned.at(numbers.numpy())),
        len(learned),
        epochs=epochs,
        seed=seed,
        advance=advance,
    )
    verdicts = [
        _Verdict(key, part, _odds(classifier, source, part)) for key, part in zip(keys, test, strict=True)
    ]
    grey_level = np.float32(2.0 ** (8 - bit_depth))
    return TwoSampleScore(
        float(np.mean([verdict.accuracy for verdict in verdicts])),
        math.hypot(*(verdict.standard_error for verdict in verdicts)) / len(keys),
        {verdict.key: verdict.accuracy for verdict in verdicts},
        len(learned),
        tuple(telltale for verdict in verdicts for telltale in _telltales(verdict, source, grey_level)),
    )


def _cells_by_condition(pictures: Sequence[PictureTriple]) -> dict[Key, list[Region]]:
    found: dict[Key, list[Region]] = defaultdict(list)
    for number, picture in enumerate(pictures):
        found[picture.dataset, picture.condition] += regions(number, *picture.clean.shape[:2])
    return {key: cells for key, cells in found.items() if len({cell.training for cell in cells}) == 2}


def _noise_std(pictures: Sequence[PictureTriple], key: Key) -> float:
    """Of the condition's real noise, in levels of its bit depth; of mute noise 1."""
    squares = [
        np.mean((picture.real.astype(np.float32) - picture.clean) ** 2, dtype=np.float64)
        for picture in pictures
        if (picture.dataset, picture.condition) == key
    ]
    return math.sqrt(float(np.mean(squares))) or 1.0


@torch.inference_mode()
def _odds(classifier: PatchClassifier, source: PatchSource, patches: Patches) -> NDArray[np.float64]:
    """Log odds [N] of being synthetic, the mean over four flips."""
    odds = []
    for numbers in np.array_split(np.arange(len(patches)), max(len(patches) // TEST_BATCH, 1)):
        noise, clean, _ = source.batch(patches.at(numbers))
        views = [classifier(noise.flip(axes), clean.flip(axes)) for axes in FLIPS]
        odds.append(torch.stack(views).mean(dim=0))
    return torch.cat(odds).double().cpu().numpy()


class _Verdict:
    """What the classifier says about the test patches of a condition."""

    def __init__(self, key: Key, patches: Patches, odds: NDArray[np.float64]) -> None:
        self.key, self.patches, self.odds = key, patches, odds
        self.right = (odds > 0) == (patches.label == 1)
        self.classes = [np.flatnonzero(patches.label == label) for label in (0, 1)]
        # balanced, and as many of each class but for an odd one in the floor
        self.accuracy = float(np.mean([self.right[members].mean() for members in self.classes]))

    @property
    def standard_error(self) -> float:
        """Of the accuracy: patches of one cell share a scene, so cells of unequal size are the sample."""
        cells = [self.right[self.patches.cell == cell] for cell in np.unique(self.patches.cell)]
        sums = [float(np.sum(cell - self.accuracy)) for cell in cells]
        correction = len(cells) / max(len(cells) - 1, 1)
        return math.sqrt(correction * float(np.sum(np.square(sums)))) / len(self.right)


def _telltales(verdict: _Verdict, source: PatchSource, grey_level: np.float32) -> list[Telltale]:
    found = []
    for label, members in enumerate(verdict.classes):
        surest = members[np.argsort(verdict.odds[members] * (1 - 2 * label))]
        chosen = surest[verdict.right[surest]][:TELLTALES]
        if not len(chosen):
            continue
        noise, clean = source.pixels(verdict.patches.at(chosen))
        probability = 1 / (1 + np.exp(-verdict.odds[chosen]))
        found += [
            Telltale(noise[i] * grey_level, clean[i] * grey_level, bool(label), float(p), verdict.key[1])
            for i, p in enumerate(probability)
        ]
    return found
