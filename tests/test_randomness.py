"""The counter-based random numbers: published vectors, dependence on the pixel alone, and distribution."""

from __future__ import annotations

import math

import pytest
import torch

from noisegen.philox import philox4x32
from noisegen.synthesis.randomness import batch_randomness, randomness, tile_key

KEY = tile_key(7, "garden", 0)

# Random123's kat_vectors for philox4x32 with 10 rounds: counter, key, words
KNOWN_ANSWERS = [
    ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_vectors(counter: str, key: str, answer: str) -> None:
    out = [torch.zeros(1, dtype=torch.int64) for _ in range(5)]
    k0, k1 = words(key)
    result = philox4x32([torch.tensor([w]) for w in words(counter)], (k0, k1), out[:4], out[4])
    assert [int(w) & 0xFFFFFFFF for w in result] == words(answer)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_has_the_same_numbers_in_whatever_rectangle_it_lies(channels: int) -> None:
    whole = randomness(KEY, 100, 200, 150, 211, channels)
    for top, left, height, width in [
        (0, 0, 1, 1),
        (3, 5, 7, 13),
        (17, 64, 128, 128),
        (50, 1, 99, 210),
        (149, 0, 1, 211),
    ]:
        part = randomness(KEY, 100 + top, 200 + left, height, width, channels)
        window = (slice(None), slice(top, top + height), slice(left, left + width))
        assert torch.equal(part.normal, whole.normal[window])
        assert torch.equal(part.uniform, whole.uniform[window])


def test_numbers_go_on_beyond_the_border_of_the_photograph() -> None:
    key = tile_key(3, "a", 0)
    beyond, inside = randomness(key, -5, -7, 30, 40, 3), randomness(key, 0, 0, 25, 33, 3)
    assert torch.equal(beyond.normal[:, 5:, 7:], inside.normal)
    assert torch.equal(beyond.uniform[:, 5:, 7:], inside.uniform)
    # neither mirrored nor repeated
    assert not torch.isin(beyond.normal[:, :5], inside.normal).any()


def test_numbers_do_not_depend_on_the_thread_count() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = randomness(KEY, 0, 0, 200, 300, 3)
        torch.set_num_threads(2)
        two = randomness(KEY, 0, 0, 200, 300, 3)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one.normal, two.normal)
    assert torch.equal(one.uniform, two.uniform)


def test_numbers_do_not_depend_on_the_batch() -> None:
    keys, ys, xs = [KEY, tile_key(8, "pond", 1), KEY], [0, 40, 500], [0, 300, 7]
    batch = batch_randomness(keys, ys, xs, 33, 65, 3)
    for i, (key, y, x) in enumerate(zip(keys, ys, xs, strict=True)):
        single = randomness(key, y, x, 33, 65, 3)
        assert torch.equal(batch.normal[i], single.normal)
        assert torch.equal(batch.uniform[i], single.uniform)


def test_seed_id_and_variant_each_change_every_pixel() -> None:
    base = randomness(KEY, 0, 0, 64, 64, 3)
    for other in (tile_key(8, "garden", 0), tile_key(7, "garden2", 0), tile_key(7, "garden", 1)):
        assert (randomness(other, 0, 0, 64, 64, 3).normal != base.normal).float().mean() > 0.999


def test_normals_are_standard_normal_and_uniforms_uniform() -> None:
    drawn = randomness(KEY, 0, 0, 1000, 1000, 3)
    normal, uniform = drawn.normal.double(), drawn.uniform.double()
    n = normal[0].numel()
    for channel in range(3):
        z = normal[channel].flatten()
        assert abs(z.mean()) < 5 / math.sqrt(n)
        assert abs(z.var() - 1) < 5 * math.sqrt(2 / n)
        assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / n)
        cumulative = torch.special.ndtr(z).sort().values
        assert (cumulative - torch.arange(n, dtype=torch.float64) / n).abs().max() < 2 / math.sqrt(n)
        counts = torch.bincount((uniform[channel].flatten() * 256).long(), minlength=256).double()
        assert len(counts) == 256
        assert ((counts - n / 256) ** 2 / (n / 256)).sum() < 255 + 5 * math.sqrt(2 * 255)


def test_channels_neighbours_and_uniforms_are_uncorrelated() -> None:
    drawn = randomness(KEY, 0, 0, 1000, 1000, 3)
    a = drawn.normal.double()
    u = (drawn.uniform.double() - 0.5) * math.sqrt(12)
    pairs = [
        (a[0], a[1]),
        (a[1], a[2]),
        (a[0], a[2]),
        (a[:, 1:], a[:, :-1]),
        (a[..., 1:], a[..., :-1]),
        (a, u),
    ]
    pairs += [(a[0] ** 2 - 1, a[1] ** 2 - 1), (u[0], u[1]), (u[1], u[2])]
    for left, right in pairs:
        assert abs((left * right).mean()) < 5 * math.sqrt(4 / left.numel())
