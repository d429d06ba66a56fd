"""What a denoiser is scored on: blocks come back as published, and a wrong file is refused with its reason."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from benchmark_fixtures import SMALL_LAYOUTS, blocks, write_true_shape, write_v5, write_v73

from noisegen.conditions import Condition
from noisegen.datasets import sidd_blocks
from noisegen.datasets.benchmarks import open_benchmark, open_benchmarks
from noisegen.datasets.mat_files import open_mat_array
from noisegen.datasets.sidd_blocks import LAYOUTS
from noisegen.errors import InputError, UsageError

VALIDATION, _, PLUS = SMALL_LAYOUTS
Write = Callable[..., Path]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidd_blocks, "LAYOUTS", SMALL_LAYOUTS)


def write_validation(folder: Path, write: Write = write_v5) -> tuple[np.ndarray, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    noisy, clean = blocks(VALIDATION.shape, 1), blocks(VALIDATION.shape, 2)
    write(folder / f"{VALIDATION.noisy}.mat", VALIDATION.noisy, noisy)
    write(folder / f"{VALIDATION.clean}.mat", VALIDATION.clean, clean)
    return noisy, clean


def write_pictures(folder: Path, pictures: np.ndarray) -> None:
    folder.mkdir()
    for number, picture in enumerate(pictures):
        assert cv2.imwrite(str(folder / f"{number:04d}.PNG"), picture[..., ::-1])


@pytest.mark.parametrize("compressed", [True, False])
def test_version_5_gives_the_blocks(tmp_path: Path, compressed: bool) -> None:
    array = blocks((2, 3, 16, 12, 3))
    path = write_v5(tmp_path / "a.mat", "a", array, compressed=compressed)
    opened = open_mat_array(path, "a", array.shape, "uint8")
    np.testing.assert_array_equal(opened.block((1, 2)), array[1, 2])


@pytest.mark.parametrize("chunks", [(3, 12, 16, 1, 1), (1, 12, 16, 3, 2), (3, 12, 16, 3, 1), None])
def test_version_73_gives_the_blocks_whatever_its_chunks(
    tmp_path: Path, chunks: tuple[int, ...] | None
) -> None:
    array = blocks((2, 3, 16, 12, 3))
    path = write_v73(tmp_path / "a.mat", "a", array, chunks=chunks)
    opened = open_mat_array(path, "a", array.shape, "uint8")
    for index in np.ndindex(2, 3):
        block = opened.block(index)
        assert block.flags.c_contiguous
        np.testing.assert_array_equal(block, array[index])
    # only chunks of single blocks are read without the others
    assert (opened._whole is None) == (chunks == (3, 12, 16, 1, 1))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_the_published_shapes_are_read_block_by_block(
    tmp_path: Path, layout: sidd_blocks.BlockLayout
) -> None:
    last = tuple(side - 1 for side in layout.grid)
    path = write_true_shape(tmp_path / f"{layout.noisy}.mat", layout, layout.noisy, {last: 9})
    if layout.clean:
        write_true_shape(tmp_path / f"{layout.clean}.mat", layout, layout.clean, {last: 7})
    [benchmark] = open_benchmark(path)
    assert (benchmark.name, len(benchmark.cases)) == (layout.name, int(np.prod(layout.grid)))
    assert (benchmark.submission is None) == (layout.clean is not None)
    noisy, clean = benchmark.cases[-1].read()
    assert (noisy.shape, noisy.dtype) == ((256, 256, 3), np.uint8)
    assert (noisy == 9).all()
    assert clean is None if layout.clean is None else (clean == 7).all()
    assert not benchmark.cases[0].read()[0].any()


def test_the_first_five_scenes_have_a_camera_and_iso(tmp_path: Path) -> None:
    layout = LAYOUTS[0]
    for variable in (layout.noisy, str(layout.clean)):
        write_true_shape(tmp_path / f"{variable}.mat", layout, variable, {})
    [benchmark] = open_benchmark(tmp_path)
    conditions = [case.condition for case in benchmark.cases]
    expected = [("S6", 800), ("GP", 10000), ("N6", 3200), ("G4", 400), ("IP", 1600)]
    for scene, (camera, iso) in enumerate(expected):
        assert set(conditions[32 * scene : 32 * (scene + 1)]) == {Condition(camera, iso)}
    assert set(conditions[5 * 32 :]) == {None}


@pytest.mark.parametrize("write", [write_v5, write_v73])
@pytest.mark.usefixtures("small")
def test_a_folder_a_file_and_another_file_name_are_the_same_benchmark(tmp_path: Path, write: Write) -> None:
    noisy, clean = write_validation(tmp_path, write)
    shutil.copy(tmp_path / f"{VALIDATION.noisy}.mat", tmp_path / "mine.mat")
    [renamed] = open_benchmark(tmp_path / "mine.mat")
    [by_file] = open_benchmark(tmp_path / f"{VALIDATION.noisy}.mat")
    [by_folder] = open_benchmark(tmp_path)
    for benchmark in (renamed, by_file, by_folder):
        for case, index in zip(benchmark.cases, np.ndindex(2, 3), strict=True):
            for found, expected in zip(case.read(), (noisy[index], clean[index]), strict=True):
                np.testing.assert_array_equal(found, expected)
    assert [case.name for case in by_file.cases[2:4]] == ["scene 0 block 2", "scene 1 block 0"]


@pytest.mark.usefixtures("small")
def test_a_folder_with_several_benchmarks_gives_each(tmp_path: Path) -> None:
    write_validation(tmp_path)
    secret = SMALL_LAYOUTS[1].noisy
    write_v5(tmp_path / f"{secret}.mat", secret, blocks(VALIDATION.shape))
    assert [benchmark.name for benchmark in open_benchmark(tmp_path)] == ["SIDD validation", "SIDD benchmark"]


@pytest.mark.parametrize("given", ["", "siddplus_valid_noisy_srgb"])
@pytest.mark.usefixtures("small")
def test_sidd_plus_is_read_from_folders_of_pictures_and_in_halves(tmp_path: Path, given: str) -> None:
    noisy, clean = blocks(PLUS.shape, 1), blocks(PLUS.shape, 2)
    write_pictures(tmp_path / PLUS.noisy, noisy)
    write_pictures(tmp_path / str(PLUS.clean), clean)
    for half, numbers in ((None, range(6)), ("first", range(3)), ("second", range(3, 6))):
        [benchmark] = open_benchmarks([tmp_path / given], half=half)
        assert [case.name for case in benchmark.cases] == [f"{number:04d}" for number in numbers]
        assert benchmark.name == ("SIDD+" if half is None else f"SIDD+ {half} half")
        for case, number in zip(benchmark.cases, numbers, strict=True):
            for found, expected in zip(case.read(), (noisy[number], clean[number]), strict=True):
                np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("small")
def test_a_picture_of_another_size_is_a_bad_case_and_a_missing_one_a_bad_folder(tmp_path: Path) -> None:
    pictures = list(blocks(PLUS.shape))
    pictures[4] = pictures[4][:8]
    write_pictures(tmp_path / PLUS.noisy, pictures)
    write_pictures(tmp_path / str(PLUS.clean), pictures)
    [benchmark] = open_benchmark(tmp_path)
    with pytest.raises(InputError, match=r"0004\.PNG is uint8 \[8, 12, 3\]; expected uint8 \[16, 12, 3\]"):
        benchmark.cases[4].read()
    for number in (1, 5):
        (tmp_path / str(PLUS.clean) / f"{number:04d}.PNG").unlink()
    with pytest.raises(UsageError, match=r"2 of the 6 pictures .* are missing: 0001\.PNG, 0005\.PNG; unpack"):
        open_benchmark(tmp_path)


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def damage_variable(path: Path, write: Write) -> None:
    write(path, "Something", blocks(VALIDATION.shape))


def damage_shape(path: Path, write: Write) -> None:
    write(path, VALIDATION.noisy, blocks((2, 2, 16, 12, 3)))


def damage_type(path: Path, write: Write) -> None:
    write(path, VALIDATION.noisy, blocks(VALIDATION.shape).astype(np.float64))


def give_the_clean_one(path: Path, write: Write) -> None:
    write(path, str(VALIDATION.clean), blocks(VALIDATION.shape))


@pytest.mark.parametrize("write", [write_v5, write_v73])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_variable, "no variable of ValidationNoisyBlocksSrgb, .*; the file's variables: Something"),
        (damage_shape, r"uint8 \[2, 2, 16, 12, 3\]; expected uint8 \[2, 3, 16, 12, 3\]"),
        (damage_type, r"(float64|double) \[2, 3, 16, 12, 3\]; expected uint8"),
        (give_the_clean_one, "these are the clean blocks of SIDD validation; give ValidationNoisyBlocksSrgb"),
        (lambda path, write: cut(path, 0.6), "truncated"),
        (lambda path, write: path.write_text("no"), "not a MATLAB file of version 5 or 7.3"),
        (lambda path, write: path.write_bytes(b""), "not a MATLAB file of version 5 or 7.3"),
        (lambda path, write: path.unlink(), "no such file"),
    ],
)
@pytest.mark.usefixtures("small")
def test_a_wrong_file_is_refused_with_its_reason(
    tmp_path: Path, write: Write, damage: Callable[[Path, Write], object], message: str
) -> None:
    write_validation(tmp_path, write)
    path = tmp_path / f"{VALIDATION.noisy}.mat"
    damage(path, write)
    with pytest.raises(UsageError, match=message) as caught:
        open_benchmark(path)
    assert str(path) in str(caught.value)


@pytest.mark.usefixtures("small")
def test_a_missing_or_wrong_partner_is_named(tmp_path: Path) -> None:
    write_validation(tmp_path)
    clean = tmp_path / f"{VALIDATION.clean}.mat"
    write_v5(clean, "Else", blocks(VALIDATION.shape))
    with pytest.raises(UsageError, match=rf"{clean}: no variable {VALIDATION.clean}; .*: Else"):
        open_benchmark(tmp_path)
    clean.unlink()
    with pytest.raises(UsageError, match=r"clean blocks, ValidationGtBlocksSrgb.mat, are not beside it"):
        open_benchmark(tmp_path)


def test_damaged_data_behind_good_headers_is_found_when_it_is_read(tmp_path: Path) -> None:
    array = blocks((2, 3, 16, 12, 3))
    old = write_v5(tmp_path / "old.mat", "a", array)
    data = bytearray(old.read_bytes())
    data[-1500:-1000] = bytes(500)
    old.write_bytes(data)
    with pytest.raises(UsageError, match=r"old\.mat: damaged"):
        open_mat_array(old, "a", array.shape, "uint8").block((0, 0))

    new = write_v73(tmp_path / "new.mat", "a", array, chunks=(3, 12, 16, 1, 1))
    with h5py.File(new) as file:
        where = file["a"].id.get_chunk_info_by_coord((0, 0, 0, 2, 1)).byte_offset
    data = bytearray(new.read_bytes())
    data[where : where + 200] = bytes(200)
    new.write_bytes(data)
    opened = open_mat_array(new, "a", array.shape, "uint8")
    np.testing.assert_array_equal(opened.block((0, 0)), array[0, 0])
    with pytest.raises(InputError, match=r"new\.mat: block \[1, 2\] cannot be read"):
        opened.block((1, 2))


@pytest.mark.usefixtures("small")
def test_version_73_without_h5py_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_validation(tmp_path, write_v73)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"version 7\.3, which needs h5py: pip install 'noisegen\[hdf5\]'"):
        open_benchmark(tmp_path)


@pytest.mark.usefixtures("small")
def test_what_is_no_benchmark_is_told_what_is(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("")
    for path, reason in (("", "holds none of"), ("note.txt", "not a benchmark"), ("away", "no such file")):
        with pytest.raises(UsageError, match=rf"{reason}.*give a table of pairs"):
            open_benchmark(tmp_path / path)


@pytest.mark.usefixtures("small")
def test_a_benchmark_given_twice_and_a_half_of_nothing_are_refused(tmp_path: Path) -> None:
    write_validation(tmp_path)
    with pytest.raises(UsageError, match="both are SIDD validation"):
        open_benchmarks([tmp_path, tmp_path / f"{VALIDATION.noisy}.mat"])
    with pytest.raises(UsageError, match="--half is for SIDD"):
        open_benchmarks([tmp_path], half="first")


def test_the_published_version_5_file_is_read(tmp_path: Path) -> None:
    layout = LAYOUTS[1]
    array = np.zeros(layout.shape, np.uint8)
    array[39, 31, 255, 254] = 1, 2, 3
    path = write_v5(tmp_path / f"{layout.noisy}.mat", layout.noisy, array)
    [benchmark] = open_benchmark(path)
    np.testing.assert_array_equal(benchmark.cases[-1].read()[0], array[39, 31])
