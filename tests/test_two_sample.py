"""The two-sample test: 0.5 for one distribution, near 1 for two, judged on pixels it was not trained on."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from noisegen.conditions import Condition
from noisegen.errors import UsageError
from noisegen.evaluation.two_sample import PictureTriple, two_sample_floor, two_sample_test
from noisegen.evaluation.two_sample_patches import (
    GUARD,
    PATCH,
    draw_test,
    draw_training,
    regions,
)

CONDITIONS = Condition("S6", 800), Condition("GP", 100)


def clean_of(seed: int, height: int, width: int) -> np.ndarray:
    white = np.random.default_rng(seed).normal(0, 200, (height, width, 3))
    return np.clip(120 + cv2.GaussianBlur(white, (0, 0), 6), 0, 255).round().astype(np.uint8)


def noise_of(shape: tuple[int, ...], seed: int, *, blur: bool, sigma: float) -> np.ndarray:
    """White or blurred noise of one histogram: the blurred field's values are replaced, rank by rank."""
    rng = np.random.default_rng(seed)
    white = rng.normal(0, sigma, shape)
    if not blur:
        return white
    smooth = cv2.GaussianBlur(white, (0, 0), 0.7)
    for channel in range(shape[2]):
        order = np.argsort(smooth[..., channel], axis=None)
        values = np.sort(rng.normal(0, sigma, order.size))
        smooth[..., channel].flat[order] = values
    return smooth


def triples(
    *, blur: bool = False, factor: float = 1.0, size: tuple[int, int] = (256, 256), deep: bool = False
) -> list[PictureTriple]:
    found = []
    for number, condition in enumerate((*CONDITIONS, *CONDITIONS)):
        clean = clean_of(number, *size)
        sigma = 4.0 if condition.iso == 100 else 12.0
        fields = (
            noise_of(clean.shape, 100 + number, blur=False, sigma=sigma),
            noise_of(clean.shape, 200 + number, blur=blur, sigma=sigma * factor),
        )
        noisy = [np.clip(np.round(clean + field), 0, 255).astype(np.uint8) for field in fields]
        pictures = [picture.astype(np.uint16) * 16 if deep else picture for picture in (*noisy, clean)]
        found.append(PictureTriple(*pictures, condition, "made"))
    return found


def test_identical_distributions_score_a_half() -> None:
    score = two_sample_test(triples(), bit_depth=8, patches=600, epochs=2)
    assert abs(score.accuracy - 0.5) < 4 * score.standard_error
    assert 0.002 < score.standard_error < 0.05
    assert set(score.by_condition) == {("made", condition) for condition in CONDITIONS}
    assert score.accuracy == pytest.approx(np.mean(list(score.by_condition.values())))
    assert score.patches == 600


def test_real_against_real_scores_a_half_whatever_the_model() -> None:
    score = two_sample_floor(triples(blur=True), bit_depth=8, patches=600, epochs=2)
    assert abs(score.accuracy - 0.5) < 4 * score.standard_error


def test_white_and_blurred_noise_of_one_histogram_are_told_apart() -> None:
    score = two_sample_test(triples(blur=True), bit_depth=8, patches=800, epochs=2)
    assert score.accuracy > 0.9


def test_a_wrong_deviation_is_seen_and_a_brightness_drift_is_not() -> None:
    assert two_sample_test(triples(factor=1.3), bit_depth=8, patches=600, epochs=2).accuracy > 0.9
    drifted = [
        PictureTriple(t.real + np.uint8(2), t.synthetic, t.clean, t.condition, t.dataset) for t in triples()
    ]
    score = two_sample_test(drifted, bit_depth=8, patches=600, epochs=2)
    assert abs(score.accuracy - 0.5) < 4 * score.standard_error


def test_the_same_seed_gives_the_same_score_and_leaves_the_global_generator_alone() -> None:
    import torch

    pictures = triples(factor=1.1)
    torch.manual_seed(5)
    first = two_sample_test(pictures, bit_depth=8, patches=400, epochs=1, seed=3)
    drawn = torch.rand(())
    second = two_sample_test(pictures, bit_depth=8, patches=400, epochs=1, seed=3)
    other = two_sample_test(pictures, bit_depth=8, patches=400, epochs=1, seed=4)
    assert (first.accuracy, first.standard_error) == (second.accuracy, second.standard_error)
    assert first.by_condition == second.by_condition
    assert [t.probability for t in first.telltales] == [t.probability for t in second.telltales]
    assert first.telltales[0].probability != other.telltales[0].probability
    torch.manual_seed(5)
    assert torch.rand(()) == drawn


def test_telltales_are_right_and_sure_and_in_8_bit_levels() -> None:
    score = two_sample_test(triples(blur=True, deep=True), bit_depth=12, patches=800, epochs=2)
    assert {(t.synthetic, t.condition) for t in score.telltales} == set(
        itertools.product((False, True), CONDITIONS)
    )
    for telltale in score.telltales:
        assert telltale.noise.shape == telltale.clean.shape == (PATCH, PATCH, 3)
        assert (telltale.probability > 0.5) == telltale.synthetic
        expected = 4.0 if telltale.condition.iso == 100 else 12.0
        assert telltale.noise.std() == pytest.approx(expected, rel=0.2)
        assert telltale.clean.max() < 256


@pytest.mark.parametrize("size", [(256, 256), (150, 220), (768, 500)])
def test_training_and_test_patches_share_no_pixel_and_keep_their_distance(size: tuple[int, int]) -> None:
    cells = regions(0, *size) + regions(1, *size)
    rng = np.random.default_rng(0)
    near = np.zeros((2, *size), bool)
    tested = np.zeros((2, *size), int)
    for place in draw_training([cell for cell in cells if cell.training], 3000, rng).corners():
        picture, y, x = place
        near[picture, max(y - GUARD, 0) : y + PATCH + GUARD, max(x - GUARD, 0) : x + PATCH + GUARD] = True
        assert y + PATCH <= size[0]
        assert x + PATCH <= size[1]
    for picture, y, x in draw_test([cell for cell in cells if not cell.training], 10_000, rng).corners():
        tested[picture, y : y + PATCH, x : x + PATCH] += 1
        assert y + PATCH <= size[0]
        assert x + PATCH <= size[1]
    assert tested.max() == 1
    assert not (near & (tested > 0)).any()
    assert near.any(axis=(1, 2)).all()
    assert tested.any(axis=(1, 2)).all()


def test_a_condition_too_small_to_be_split_is_left_out() -> None:
    small = clean_of(9, 60, 60)
    extra = PictureTriple(small, small, small, Condition("N6", 50), "made")
    score = two_sample_test([*triples(), extra], bit_depth=8, patches=400, epochs=1)
    assert ("made", Condition("N6", 50)) not in score.by_condition
    with pytest.raises(UsageError, match="large enough"):
        two_sample_test([extra], bit_depth=8, patches=400)


def test_mute_noise_on_both_sides_is_indistinguishable() -> None:
    mute = [PictureTriple(t.clean, t.clean, t.clean, t.condition, t.dataset) for t in triples()]
    score = two_sample_test(mute, bit_depth=8, patches=400, epochs=1)
    assert score.accuracy == 0.5
