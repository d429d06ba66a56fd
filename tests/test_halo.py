"""With a halo the noise of a photograph does not show how it was cut into tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nm_flowgan_fixtures import A400, tiny_model
from synthesis_fixtures import photograph

from noisegen.models import prepare_for_synthesis
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.synthesis.engine import synthesize
from noisegen.tiles import cut_region

# of two ways to cut: floating-point sums may differ in the last bit, which may change a rounding
MOST_DIFFERENT = 1e-4


def noisy_of(model: NMFlowGAN, picture: np.ndarray, tile_size: int, halo: int) -> np.ndarray:
    fast = prepare_for_synthesis(model, device="cpu")
    return synthesize(fast, picture, A400, seed=3, image_id="a", tile_size=tile_size, halo=halo)


def difference(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """Share of the values that differ, and by how much at most."""
    levels = np.abs(one.astype(int) - other)
    return float((levels > 0).mean()), int(levels.max())


# The U-Net of the hybrid sees further than filter and structure-aware layer, which are all of the compact model.
@pytest.mark.parametrize(("preset", "halo", "depth"), [("compact", 8, 1), ("hybrid", 40, 2)])
def test_the_tile_size_changes_no_pixel(preset: str, halo: int, depth: int) -> None:
    model = tiny_model(preset, unet_depth=depth)
    picture = photograph(117, 151)  # odd sides: the last tiles start at odd pixels
    small, large = (noisy_of(model, picture, size, halo) for size in (40, 64))
    share, most = difference(small, large)
    assert share <= MOST_DIFFERENT and most <= 1
    # the property is not one of tiles without a halo
    share, most = difference(noisy_of(model, picture, 40, 0), noisy_of(model, picture, 64, 0))
    assert share > 0.1 and most > 5


def test_tiles_fit_to_the_photograph_made_in_one_piece_up_to_its_border() -> None:
    model = tiny_model("compact")
    picture = photograph(101, 90)
    share, most = difference(noisy_of(model, picture, 48, 8), noisy_of(model, picture, 101, 8))
    assert share <= MOST_DIFFERENT and most <= 1


def test_noise_is_correlated_across_seams_as_inside_tiles() -> None:
    model = tiny_model("compact", structure=False, signal=False)
    smooth = torch.exp(-(torch.arange(-3.0, 4.0) ** 2) / 2)
    assert model.correlation is not None
    squares = model.sizes.channels * model.sizes.period**2
    model.correlation.table.copy_(
        (torch.eye(squares)[..., None, None] * smooth[:, None] * smooth).flatten(0, 1)
    )
    grey = np.full((256, 264, 3), 128, np.uint8)

    def beside(halo: int, column: int) -> float:
        noise = noisy_of(model, grey, 64, halo).astype(float) - 128
        return float(np.corrcoef(noise[:, column - 2].ravel(), noise[:, column].ravel())[0, 1])

    inside = beside(8, 96)
    assert inside > 0.5
    for seam in (64, 128, 192):
        assert beside(8, seam) == pytest.approx(inside, abs=0.1)
        assert abs(beside(0, seam)) < inside - 0.3


def test_a_region_has_one_shape_starts_aligned_and_holds_the_rectangle_and_its_halo() -> None:
    picture = photograph(97, 120)
    shapes = set()
    for y, x in [(0, 0), (31, 17), (65, 88), (64, 32)]:
        region = cut_region(picture, y, x, 32, 32, halo=5, alignment=4)
        shapes.add(region.clean.shape)
        assert region.y % 4 == 0 and region.x % 4 == 0
        assert np.array_equal(region.clean[region.inner], picture[y : y + 32, x : x + 32])
        rows, columns = region.inner
        for inner, side in zip(region.inner, region.clean.shape[:2], strict=True):
            assert inner.start >= 5 and side - inner.stop >= 5
        # what lies inside the photograph is the photograph, all the rest its mirror image
        for i in range(region.clean.shape[0]):
            line = abs(region.y + i)
            line = line if line < 97 else 2 * 96 - line
            assert np.array_equal(region.clean[i, columns], picture[line, x : x + 32])
        assert rows.stop - rows.start == columns.stop - columns.start == 32
    assert len(shapes) == 1


def test_without_a_halo_a_region_is_the_rectangle_wherever_it_starts() -> None:
    picture = photograph(40, 40)
    region = cut_region(picture, 7, 9, 16, 16, alignment=4)
    assert (region.y, region.x) == (7, 9)
    assert np.array_equal(region.clean, picture[7:23, 9:25])


def test_a_halo_larger_than_the_photograph_is_mirrored_again_and_again() -> None:
    picture = np.arange(3, dtype=np.uint8).reshape(1, 3, 1)
    region = cut_region(picture, 0, 0, 1, 3, halo=6, alignment=1)
    assert region.clean[0, :, 0].tolist() == [2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0]


def test_models_state_the_squares_they_work_in() -> None:
    assert tiny_model("compact").alignment == 2
    assert tiny_model("hybrid", unet_depth=2).alignment == 4
    assert tiny_model("paper", unet_depth=3).alignment == 4
    fast = prepare_for_synthesis(tiny_model("hybrid", unet_depth=2), device="cpu")
    assert fast.alignment == 4
