"""Manifests, photographs and names that are wrong on purpose: recorded, never obeyed, never a dead or endless run."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image
from synthesis_fixtures import command, invoke, photograph, save_photograph, save_tiny_model

from noisegen.errors import InputError, UsageError
from noisegen.images import probe, read_image
from noisegen.manifest import Manifest
from noisegen.png import decode_png
from noisegen.spreadsheets import plain_cell
from noisegen.synthesis.build import build_dataset
from noisegen.synthesis.duplicates import RepeatedIds
from noisegen.synthesis.records import read_index
from noisegen.synthesis.verify import verify_dataset

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "model.safetensors")


def build(folder: Path, columns: dict[str, object], model: Path, **options: object) -> Path:
    """Builds a dataset of 64-pixel tiles from a manifest in ``folder``; returns the dataset's folder."""
    pq.write_table(pa.table(columns), folder / "manifest.parquet")
    arguments: dict[str, object] = {"model": model, "tile_size": 64, "workers": 2, "quiet": True}
    build_dataset(folder / "manifest.parquet", folder / "out", **(arguments | options))  # type: ignore[arg-type]
    return folder / "out"


def failures(output: Path) -> dict[int, dict[str, str]]:
    lines = (output / "failures.jsonl").read_text().splitlines()
    return {failure["row"]: failure for failure in map(json.loads, lines)}


def reason_of(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_image(path)
    return error.value.reason


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def with_sides(kind: str, side: int, **options: object) -> bytes:
    """A small file of a kind whose header claims ``side`` x ``side`` pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, kind, **options)
    data = bytearray(buffer.getvalue())
    if kind == "PNG":
        return png(side, side, chunk(b"IDAT", zlib.compress(b"")))
    if kind == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", side, side)
    elif kind == "TIFF":
        for tag in (256, 257):
            place = data.index(struct.pack("<HHI", tag, 4, 1)) + 8
            data[place : place + 4] = struct.pack("<I", side)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
    else:
        place = data.index(b"VP8L") + 9
        bits = struct.unpack("<I", data[place : place + 4])[0] >> 28 << 28
        data[place : place + 4] = struct.pack("<I", bits | (side - 1) << 14 | (side - 1))
    return bytes(data)


@pytest.mark.parametrize(
    ("kind", "side", "options"),
    [
        ("PNG", 100_000, {}),
        ("JPEG", 65_500, {}),
        ("TIFF", 100_000, {"tiffinfo": {256: 16, 257: 16}}),
        ("BMP", 100_000, {}),
        ("GIF", 65_535, {}),
        ("WEBP", 16_384, {"lossless": True}),
    ],
)
def test_a_header_of_giant_sides_costs_nothing(
    tmp_path: Path, kind: str, side: int, options: dict[str, object]
) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(with_sides(kind, side, **options))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reason_of(path) == "too_large"
    with pytest.raises(InputError):
        probe(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def bombs() -> dict[str, bytes]:
    """Small files of few pixels that inflate to 256 MiB."""
    packer = zlib.compressobj(6)
    zeros = b"".join([*(packer.compress(bytes(16 * MEBIBYTE)) for _ in range(16)), packer.flush()])
    pixels = chunk(b"IDAT", zlib.compress(bytes(31 * 10)))
    buffer = io.BytesIO()
    Image.new("RGB", (10, 10)).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    tiff = bytearray(buffer.getvalue())
    for tag, value in ((273, len(tiff)), (279, len(zeros))):
        place = next(i for i in range(len(tiff)) if tiff[i : i + 2] == struct.pack("<H", tag))
        tiff[place + 2 : place + 12] = struct.pack("<HII", 4, 1, value)
    return {
        "pixels.png": png(10, 10, chunk(b"IDAT", zeros)),
        "profile.png": png(10, 10, chunk(b"iCCP", b"icc\0\0" + zeros), pixels),
        "text.png": png(10, 10, chunk(b"zTXt", b"Comment\0\0" + zeros), pixels),
        "strip.tif": bytes(tiff) + zeros,
    }


def test_a_decompression_bomb_is_read_or_refused_but_not_inflated(tmp_path: Path) -> None:
    for name, data in bombs().items():
        assert len(data) < 2 * MEBIBYTE
        (tmp_path / name).write_bytes(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            assert read_image(tmp_path / name).shape == (10, 10, 3)
        except InputError as error:
            assert error.reason in ("unreadable", "truncated", "too_large"), name
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert growth < 100_000, (name, growth)


def test_pipes_devices_and_folders_do_not_block_the_run(tmp_path: Path, model: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    save_photograph(tmp_path / "good.png", photograph(64, 64))
    paths = ["pipe.png", "folder.png", "/dev/zero", "/dev/stdin", "/proc/self/mem", "good.png"]
    pq.write_table(pa.table({"path": paths}), tmp_path / "manifest.parquet")
    arguments = ["build-dataset", str(tmp_path / "manifest.parquet"), "-o", str(tmp_path / "out")]
    done = subprocess.run(
        command(*arguments, "--model", str(model), "--tile-size", "64", "--allow-outside"),
        capture_output=True,
        stdin=subprocess.PIPE,
        timeout=100,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert sorted(failures(tmp_path / "out")) == [0, 1, 2, 3, 4]


def test_a_manifest_or_checkpoint_that_is_a_pipe_is_refused_at_once(tmp_path: Path, model: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a file"):
        Manifest.open(tmp_path / "pipe")
    save_photograph(tmp_path / "a.png", photograph(64, 64))
    with pytest.raises(UsageError, match="does not exist"):
        build(tmp_path, {"path": ["a.png"]}, tmp_path / "pipe")


def test_what_leads_outside_is_refused_unless_it_is_allowed(tmp_path: Path, model: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    save_photograph(tmp_path / "secret.png", photograph(64, 64))
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "folder").symlink_to(tmp_path)
    paths = [
        "../secret.png",
        "link.png",
        "folder/secret.png",
        str(tmp_path / "secret.png"),
        "x/../../secret.png",
    ]
    output = build(inside, {"path": paths}, model)
    assert {row: failure["reason"] for row, failure in failures(output).items()} == dict.fromkeys(
        range(5), "outside_root"
    )
    assert str(tmp_path) not in failures(output)[0]["message"]
    allowed = build_dataset(
        inside / "manifest.parquet",
        tmp_path / "allowed",
        model=model,
        tile_size=64,
        allow_outside=True,
        quiet=True,
    )
    # the last one goes through a folder that does not exist, which realpath takes away
    assert (allowed.tiles, allowed.failures) == (5, {})


HOSTILE_IDS = [
    "../../etc/passwd",
    "/absolute/path",
    "with\0nul",
    "quo'te\"s\\and\\\\slashes",
    "x" * 300,
    "y" * 100_000,
    "line\nbreaks\r\nand\ttabs",
    "=HYPERLINK(\"http://localhost\")",
    "Ünïcødé 照片 🙂 \u202e\u200d",
    "{}[],:%s%n<script>",
    " ",
    ".",
    "NaN",
]  # fmt: skip


def test_ids_of_all_kinds_come_back_as_they_were_and_name_no_file(tmp_path: Path, model: Path) -> None:
    save_photograph(tmp_path / "a.png", photograph(64, 64))
    count = len(HOSTILE_IDS)
    columns = {"path": ["a.png"] * count, "id": HOSTILE_IDS, HOSTILE_IDS[3]: HOSTILE_IDS}
    output = build(tmp_path, columns, model, variants=2)
    assert verify_dataset(output).problems == {}
    rows = [row for path in sorted((output / "index").iterdir()) for row in read_index(path)]
    assert [row["id"] for row in rows[::2]] == HOSTILE_IDS
    shards = sorted(map(str, (output / "shards").iterdir()))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert [sample["json"]["id"] for sample in samples[::2]] == HOSTILE_IDS
    assert samples[0]["json"]["extra"] == {HOSTILE_IDS[3]: HOSTILE_IDS[0]}
    assert (output / "contact_sheet.png").exists()
    names = {path.name for path in tmp_path.rglob("*")}
    assert not [name for name in names if "passwd" in name or "xxx" in name]


def test_text_that_is_no_unicode_is_a_recorded_row(tmp_path: Path, model: Path) -> None:
    save_photograph(tmp_path / "a.png", photograph(64, 64))
    surrogate, latin = b"id \xed\xa0\x80", b"id \xe9"
    ids = pa.array([surrogate, latin, b"good"]).cast(pa.string(), safe=False)
    output = build(tmp_path, {"path": ["a.png"] * 3, "id": ids}, model)
    assert {row: failure["reason"] for row, failure in failures(output).items()} == {
        0: "bad_value",
        1: "bad_value",
    }


def test_a_repeated_id_is_a_failure_that_names_the_first_row(tmp_path: Path, model: Path) -> None:
    for i in range(6):
        save_photograph(tmp_path / f"{i}.png", photograph(64, 64, seed=i))
    columns = {"path": [f"{i}.png" for i in range(6)], "id": ["a", "b", "a", None, "5.png", "a"]}
    output = build(tmp_path, columns, model, rows_per_shard=2)
    found = failures(output)
    assert {row: failure["reason"] for row, failure in found.items()} == {
        2: "duplicate_id",
        5: "duplicate_id",
    }
    assert "of row 0" in found[2]["message"] and "of row 0" in found[5]["message"]
    rows = [row for path in sorted((output / "index").iterdir()) for row in read_index(path)]
    assert [row["id"] for row in rows] == ["a", "b", "3.png", "5.png"]


def test_repeated_ids_are_those_that_a_dictionary_finds_whatever_the_groups(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    ids = [None if n % 11 == 0 else int(n) for n in chance.integers(0, 900, 3000)]
    paths = [f"{n}" for n in chance.integers(0, 900, 3000)]
    table = pa.table({"path": paths, "id": pa.array(ids, pa.int64())})
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=700)
    first: dict[str, int] = {}
    expected = {}
    for row, name in enumerate(path if i is None else str(i) for path, i in zip(paths, ids, strict=True)):
        if first.setdefault(name, row) != row:
            expected[row] = first[name]
    found = RepeatedIds.of(Manifest.open(tmp_path / "m.parquet"), 2900, seed=3)
    assert dict(zip(found.rows.tolist(), found.firsts.tolist(), strict=True)) == {
        row: of for row, of in expected.items() if row < 2900
    }


def test_pictures_of_all_kinds_in_one_manifest_are_used_or_recorded_each_for_itself(
    tmp_path: Path, model: Path
) -> None:
    colour = photograph(64, 80)
    image = Image.fromarray(colour)
    exif = Image.Exif()
    exif[0x0112] = 6
    save_photograph(tmp_path / "deep.png", photograph(64, 64, bits=16))
    save_photograph(tmp_path / "grey.png", photograph(64, 64, channels=1))
    image.save(tmp_path / "colour.png")
    image.convert("RGBA").save(tmp_path / "opaque.png")
    Image.fromarray(np.dstack([colour, colour[..., :1]])).save(tmp_path / "transparent.png")
    image.convert("CMYK").save(tmp_path / "press.jpg")
    image.save(tmp_path / "moving.gif", save_all=True, append_images=[image.rotate(90)])
    image.save(tmp_path / "turned.png", exif=exif)
    image.quantize(64).save(tmp_path / "palette.png")
    expected = {
        "deep.png": "bit_depth",
        "grey.png": "channels",
        "colour.png": None,
        "opaque.png": None,
        "transparent.png": "alpha",
        "press.jpg": "cmyk",
        "moving.gif": "animated",
        "turned.png": None,
        "palette.png": None,
    }
    output = build(tmp_path, {"path": list(expected)}, model)
    found = {failure["path"]: failure["reason"] for failure in failures(output).values()}
    assert found == {name: reason for name, reason in expected.items() if reason}
    samples = {
        (s["json"]["id"], s["json"]["y"], s["json"]["x"]): s
        for s in webdataset.WebDataset(str(output / "shards" / "000000.tar"), shardshuffle=False).decode(
            "rgb8"
        )
    }
    upright = np.rot90(colour, -1)
    assert np.array_equal(samples["turned.png", 16, 0]["clean.png"], upright[16:80])
    assert np.array_equal(samples["opaque.png", 0, 16]["clean.png"], colour[:, 16:])


def test_a_file_that_does_not_fit_into_memory_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    path = save_photograph(tmp_path / "a.png", photograph(4000, 4000))
    program = (
        "import sys, resource; from pathlib import Path; from noisegen.images import read_image\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000, -1))\n"
        "try:\n    read_image(Path(sys.argv[1]))\nexcept Exception as error:\n    print(error.reason)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == "memory\n", done.stderr


def test_tables_for_spreadsheets_hold_no_formulas(tmp_path: Path) -> None:
    hostile = "=cmd|'/c calc'!A1"
    for text in (hostile, "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"):
        assert plain_cell(text) == f"'{text}"
    assert [plain_cell(value) for value in ("S6", "a=b", "", -1.5, 3, None)] == [
        "S6",
        "a=b",
        "",
        -1.5,
        3,
        None,
    ]
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        rows = [
            ["noisy_path", "clean_path", "camera", "iso", "scene"],
            [hostile, hostile, hostile, "100", hostile],
        ]
        csv.writer(file).writerows(rows)
    report = tmp_path / "report.csv"
    assert invoke("check-pairs", str(tmp_path / "pairs.csv"), "-q", "-o", str(report)).exit_code == 3
    with report.open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert sum(hostile in cell for cell in cells) >= 4
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def test_a_png_that_lies_about_its_sides_is_no_picture() -> None:
    for width, height in ((11, 10), (10, 11), (2**31 - 1, 1), (0, 10)):
        data = png(width, height, chunk(b"IDAT", zlib.compress(bytes(31 * 10))))
        with pytest.raises(InputError):
            decode_png(data)
