"""What keeps builds quick and small: photographs let go, exact statistics, tars as of `tarfile`, quotas of cores."""

from __future__ import annotations

import io
import math
import tarfile
import weakref
from pathlib import Path

import numpy as np
import pytest
from synthesis_fixtures import Workplace, contents, invoke, make_workplace, photograph

from noisegen.images import read_image
from noisegen.synthesis import pipeline, threads
from noisegen.synthesis.files import record_file
from noisegen.synthesis.formats import webdataset
from noisegen.synthesis.records import FinishedTile, TileRecord, noise_std


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=8)


class _Tracked(np.ndarray):
    """A picture that can be weakly referred to, with whatever still shows a part of it."""


def test_few_photographs_are_in_memory_where_each_exceeds_what_may_wait(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever tiles are still on their way: the one being cut and the next; for an instant the one before, too."""
    monkeypatch.setattr(pipeline, "AHEAD_BYTES", 0)
    alive: weakref.WeakSet[_Tracked] = weakref.WeakSet()
    counts: list[int] = []

    def tracked(*arguments: object, **options: object) -> np.ndarray:
        counts.append(len(alive))
        picture = read_image(*arguments, **options).view(_Tracked)  # type: ignore[arg-type]
        alive.add(picture)
        return picture

    _Tracked.__hash__ = object.__hash__  # type: ignore[method-assign,assignment]
    monkeypatch.setattr(pipeline, "read_image", tracked)
    result = invoke(*place.arguments(tmp_path / "out", "--workers", "2", "--batch-size", "4"))
    assert result.exit_code == 0, result.output
    assert len(counts) == 8
    assert max(counts) <= 2


def test_threads_and_batches_change_no_byte(place: Workplace, tmp_path: Path) -> None:
    trees = []
    for i, options in enumerate((["--workers", "1"], ["--workers", "7", "--batch-size", "5"])):
        result = invoke(*place.arguments(tmp_path / str(i), *options))
        assert result.exit_code == 0, result.output
        trees.append(contents(tmp_path / str(i)))
    assert trees[0] == trees[1]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shape", [(256, 256, 3), (300, 200, 1), (1, 1, 3), (3, 500_000, 1)])
@pytest.mark.parametrize("extreme", [False, True])
def test_the_deviation_of_noise_is_that_of_exact_integers(
    shape: tuple[int, int, int], bits: int, extreme: bool
) -> None:
    """Also where squares reach 2**32 and their sum exceeds what a double holds."""
    draw = np.random.default_rng(0)
    top = (1 << bits) - 1
    dtype = np.uint8 if bits == 8 else np.uint16
    photo = draw.integers(0, top + 1, (shape[0] + 2, shape[1] + 2, shape[2]), dtype=dtype)
    noisy = draw.integers(0, top + 1, shape, dtype=dtype)
    if extreme:
        photo[:] = 0
        noisy[:] = top
        noisy[: shape[0] // 3] = 1
    clean = photo[1:-1, 1:-1]  # no contiguous one
    noise = [int(value) for value in (noisy.astype(np.int64) - clean).ravel()]
    n, total, squares = len(noise), sum(noise), sum(value * value for value in noise)
    assert noise_std(noisy, clean) == math.sqrt(n * squares - total * total) / n


def test_a_tar_is_what_tarfile_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, over the sizes around its blocks and records."""
    monkeypatch.setattr(webdataset, "WRITEBACK_BYTES", 4000)
    file = webdataset._TarFile(tmp_path / "own.tar")
    tiles = []
    for i, size in enumerate((0, 1, 511, 512, 513, 5000, 70_000)):
        record = TileRecord(
            f"{i:08d}-00-00000-00256",
            i,
            "idé",
            0,
            "",
            0,
            256,
            64,
            "S6",
            100,
            "known",
            True,
            7,
            1.25,
            "a",
            "b",
            "{}",
        )
        tiles.append(FinishedTile(bytes([i]) * size, b"\xff" * (size // 2), record))
        file.add(tiles[-1])
    file.close()
    with tarfile.open(tmp_path / "other.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for tile in tiles:
            record_json = webdataset.json_bytes(tile.record.to_dict())
            for suffix, data in (("noisy.png", tile.noisy), ("clean.png", tile.clean), ("json", record_json)):
                info = tarfile.TarInfo(f"{tile.record.key}.{suffix}")
                info.mode, info.size = 0o644, len(data)
                tar.addfile(info, io.BytesIO(data))
    assert (tmp_path / "own.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()
    assert file.record() == record_file(tmp_path / "other.tar")


def test_a_view_of_a_photograph_and_its_copy_have_the_same_deviation() -> None:
    photo = photograph(90, 90)
    noisy = photograph(64, 64, seed=1)
    assert noise_std(noisy, photo[5:69, 9:73]) == noise_std(noisy, photo[5:69, 9:73].copy())


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({"job/step": "150000 100000"}, 2),
        ({"job/step": "max 100000", "job": "300000 100000"}, 3),
        ({"": "50000 100000", "job": "300000 100000"}, 1),
        ({}, 16),
        ({"job/step": "nonsense"}, 16),
    ],
)
def test_cores_are_those_that_a_container_may_use(
    limits: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job" / "step").mkdir(parents=True)
    for group, limit in limits.items():
        (tmp_path / group / "cpu.max").write_text(f"{limit}\n")
    (tmp_path / "cgroup").write_text("0::/job/step\n")
    monkeypatch.setattr(threads, "CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(threads, "PROCESS_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert threads.usable_cores() == cores
