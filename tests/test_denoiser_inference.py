"""Denoising a picture: what DnCNN computes on the whole of it, whatever the tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from denoiser_fixtures import Sizes, random_denoiser, random_picture

from noisegen.denoising.dncnn import DnCNN
from noisegen.denoising.inference import Denoiser
from noisegen.errors import InputError, UsageError


def as_a_whole(model: DnCNN, noisy: np.ndarray, bit_depth: int) -> np.ndarray:
    """The authors' way: one pass in eval mode."""
    levels = 2**bit_depth
    with torch.inference_mode():
        x = torch.from_numpy(noisy.astype(np.float32)).permute(2, 0, 1)[None] / levels
        values = (model(x).clamp(0, 1) * levels).round().clamp(max=levels - 1)
    return values[0].permute(1, 2, 0).numpy().astype(noisy.dtype)


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    return np.abs(a.astype(np.int64) - b)


@pytest.mark.parametrize("tile", [1000, 64, 17, 3])
@pytest.mark.parametrize("sizes", [Sizes(), Sizes(channels=1), Sizes(layers=9)])
def test_tiles_leave_no_seam(sizes: Sizes, tile: int) -> None:
    model, noisy = random_denoiser(sizes), random_picture(70, 83, sizes.channels)
    expected = as_a_whole(model, noisy, 8)
    assert difference(expected, noisy).mean() > 2
    denoised = Denoiser(model, tile=tile).denoise(noisy)
    wrong = difference(denoised, expected)
    assert wrong.max() <= 1
    assert (wrong > 0).mean() < 0.001


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 4), (5, 33)])
def test_pictures_smaller_than_a_tile_or_than_the_network_sees(size: tuple[int, int]) -> None:
    model, noisy = random_denoiser(), random_picture(*size)
    assert difference(Denoiser(model, tile=32).denoise(noisy), as_a_whole(model, noisy, 8)).max() <= 1


@pytest.mark.parametrize("bit_depth", [9, 12, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_deeper_pictures(bit_depth: int, channels: int) -> None:
    model = random_denoiser(Sizes(channels, bit_depth=bit_depth))
    noisy = random_picture(30, 41, channels, bit_depth)
    denoised = Denoiser(model, tile=16).denoise(noisy)
    assert denoised.max() < 2**bit_depth
    assert difference(denoised, as_a_whole(model, noisy, bit_depth)).max() <= 1


def test_another_bit_depth_than_the_models_scales_the_picture() -> None:
    model, noisy = random_denoiser(Sizes(bit_depth=12)), random_picture(20, 20, 3, 16)
    deeper = Denoiser(model, bit_depth=16)
    assert deeper.bit_depth == 16
    assert difference(deeper.denoise(noisy), as_a_whole(model, noisy, 16)).max() <= 1
    for sizes, bit_depth in ((Sizes(), 12), (Sizes(bit_depth=12), 8)):
        with pytest.raises(UsageError, match="bits"):
            Denoiser(random_denoiser(sizes), bit_depth=bit_depth)


def test_folding_the_batchnorm_changes_rounding_only_and_not_the_model() -> None:
    model = random_denoiser()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    denoiser = Denoiser(model)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in denoiser.body.modules())
    x = torch.rand(2, 3, 20, 30)
    with torch.inference_mode():
        torch.testing.assert_close(denoiser.body(x), model.body(x), rtol=1e-5, atol=1e-5)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_in_training_denoises_as_in_eval_mode_and_stays_in_training() -> None:
    noisy = random_picture(20, 20)
    expected = as_a_whole(random_denoiser(), noisy, 8)
    model = random_denoiser().train()
    assert difference(Denoiser(model).denoise(noisy), expected).max() <= 1
    assert model.training


def test_bfloat16_is_near_float32() -> None:
    model, noisy = random_denoiser(), random_picture(40, 40)
    wrong = difference(
        Denoiser(model, precision="bfloat16", tile=16).denoise(noisy), Denoiser(model).denoise(noisy)
    )
    assert wrong.max() <= 4
    assert wrong.mean() < 0.5


def test_a_view_with_turned_axes_is_a_picture() -> None:
    denoiser, noisy = Denoiser(random_denoiser()), random_picture(20, 31)
    turned = noisy.transpose(1, 0, 2)[:, ::-1]
    np.testing.assert_array_equal(denoiser.denoise(turned), denoiser.denoise(np.ascontiguousarray(turned)))


def test_pixels_are_reported_tile_by_tile() -> None:
    seen: list[int] = []
    Denoiser(random_denoiser(), tile=16).denoise(random_picture(20, 33), advance=seen.append)
    assert len(seen) == 6
    assert sum(seen) == 20 * 33


def test_a_gpu_too_small_for_the_tile_gets_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model, noisy = random_denoiser(), random_picture(150, 201)
    denoiser = Denoiser(model, tile=256)
    run = denoiser._run

    def run_in_little_memory(piece: np.ndarray) -> np.ndarray:
        if piece.shape[0] > 80:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return run(piece)

    monkeypatch.setattr(denoiser, "_run", run_in_little_memory)
    seen: list[int] = []
    wrong = difference(denoiser.denoise(noisy, advance=seen.append), as_a_whole(model, noisy, 8))
    assert wrong.max() <= 1
    assert denoiser.tile == 64
    assert sum(seen) == 150 * 201

    monkeypatch.setattr(denoiser, "_run", lambda piece: run_in_little_memory(np.empty((999, 1, 3))))
    with pytest.raises(UsageError, match="--device cpu"):
        denoiser.denoise(noisy)


def test_a_picture_that_the_denoiser_is_not_for_is_refused() -> None:
    rgb, deep = Denoiser(random_denoiser()), Denoiser(random_denoiser(Sizes(bit_depth=12)))
    too_bright = random_picture(4, 4, 3, 12)
    too_bright[0, 0, 0] = 4096
    for denoiser, noisy, message in (
        (rgb, random_picture(4, 4, 1), "grey.*RGB"),
        (rgb, random_picture(4, 4, 3, 16), "uint16.*8 bits"),
        (deep, random_picture(4, 4), "uint8.*12 bits"),
        (deep, too_bright, "4096.*--bit-depth"),
    ):
        with pytest.raises(InputError, match=message) as error:
            denoiser.denoise(noisy)
        assert error.value.reason == "format_mismatch"
    with pytest.raises(ValueError, match="picture"):
        rgb.denoise(np.zeros((4, 4), np.uint8))
