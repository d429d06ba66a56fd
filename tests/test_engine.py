"""Running a model over tiles: independence of how, refusal of what does not fit, whole photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from synthesis_fixtures import photograph, tiny_model

from noisegen.conditions import Condition
from noisegen.errors import InputError
from noisegen.synthesis.engine import Engine, TileJob, synthesize, tile_threads
from noisegen.synthesis.randomness import tile_key
from noisegen.tiles import tile_grid

CONDITION = Condition("S6", 200)


def jobs_of(picture: np.ndarray, size: int) -> list[TileJob]:
    key = tile_key(1, "a", 0)
    grid = tile_grid(picture.shape[0], picture.shape[1], size)
    return [TileJob(picture[t.y : t.y + size, t.x : t.x + size], CONDITION, key, t.y, t.x) for t in grid]


def test_a_tile_is_the_same_alone_in_any_company_and_on_any_thread() -> None:
    engine = Engine(tiny_model())
    jobs = jobs_of(photograph(128, 160), 64)
    with tile_threads(1) as pool:
        together = pool.submit(engine.run, jobs).result()
    with tile_threads(3) as pool:
        alone = [tiles[0] for tiles in pool.map(engine.run, [[job] for job in jobs])]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


def test_threads_for_tiles_leave_the_thread_count_as_it_was() -> None:
    before = torch.get_num_threads()
    with tile_threads(2) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == before


def test_a_whole_photograph_consists_of_its_tiles_and_the_earlier_one_wins() -> None:
    model, picture = tiny_model(), photograph(100, 150)
    whole = synthesize(model, picture, CONDITION, seed=1, image_id="a", tile_size=64)
    jobs = jobs_of(picture, 64)
    expected = np.zeros_like(picture)
    written = np.zeros(picture.shape[:2], bool)
    with tile_threads(1) as pool:
        tiles = pool.submit(Engine(model).run, jobs).result()
    for job, tile in zip(jobs, tiles, strict=True):
        window = (slice(job.y, job.y + 64), slice(job.x, job.x + 64))
        fresh = ~written[window]
        expected[window][fresh] = tile[fresh]
        written[window] = True
    assert np.array_equal(whole, expected)
    assert (whole != picture).mean() > 0.5


@pytest.mark.parametrize("window", [np.s_[0:30, 0:30], np.s_[50:90, 60:150], np.s_[99:100, 149:150]])
def test_a_window_is_that_part_of_the_whole_photograph(window: tuple[slice, slice]) -> None:
    model, picture = tiny_model(), photograph(100, 150)
    settings = {"seed": 1, "image_id": "a", "tile_size": 64, "halo": 8}
    whole = synthesize(model, picture, CONDITION, **settings)  # type: ignore[arg-type]
    part = synthesize(model, picture, CONDITION, window=window, **settings)  # type: ignore[arg-type]
    assert part.tobytes() == whole[window].tobytes()


@pytest.mark.parametrize("shape", [(40, 150), (150, 40), (1, 1), (64, 64)])
def test_a_side_shorter_than_a_tile_is_one_tile_of_its_own_length(shape: tuple[int, int]) -> None:
    picture = photograph(*shape)
    noisy = synthesize(tiny_model(), picture, CONDITION, seed=1, image_id="a", tile_size=64)
    assert noisy.shape == picture.shape
    assert noisy.dtype == np.uint8


def test_sixteen_bit_grey_stays_sixteen_bit_grey() -> None:
    picture = photograph(64, 64, channels=1, bits=16)
    noisy = synthesize(
        tiny_model(channels=1, bit_depth=16), picture, CONDITION, seed=1, image_id="a", tile_size=64
    )
    assert noisy.dtype == np.uint16
    assert noisy.shape == (64, 64, 1)
    assert len(np.unique(noisy)) > 1000


def test_seed_id_and_variant_give_other_noise() -> None:
    model, picture = tiny_model(), photograph(64, 64)
    arguments = [(1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1)]
    pictures = [
        synthesize(model, picture, CONDITION, seed=s, image_id=i, variant=v, tile_size=64)
        for s, i, v in arguments
    ]
    assert len({p.tobytes() for p in pictures}) == 4


@pytest.mark.parametrize(
    ("bit_depth", "channels", "picture", "reason"),
    [
        (8, 3, photograph(64, 64, channels=1), "channels"),
        (8, 1, photograph(64, 64), "channels"),
        (8, 3, photograph(64, 64, bits=16), "bit_depth"),
        (16, 3, photograph(64, 64), "bit_depth"),
        (12, 3, photograph(64, 64, bits=16), "bit_depth"),
    ],
)
def test_a_photograph_of_another_kind_is_refused(
    bit_depth: int, channels: int, picture: np.ndarray, reason: str
) -> None:
    model = tiny_model(channels=channels, bit_depth=bit_depth)
    with pytest.raises(InputError) as caught:
        synthesize(model, picture, CONDITION, seed=1, image_id="a")
    assert caught.value.reason == reason


def test_an_unknown_camera_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="known: N6, S6"):
        synthesize(tiny_model(), photograph(64, 64), Condition("X9", 100), seed=1, image_id="a", tile_size=64)
