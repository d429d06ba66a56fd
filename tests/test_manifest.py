"""The Parquet manifest: what is accepted, what is recorded as bad, and that it is a stream."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from noisegen.cli import main
from noisegen.errors import InputError, UsageError
from noisegen.manifest import BadRow, Manifest, ManifestRow, write_manifest
from noisegen.manifest_cells import read_cell

ROOT = Path(__file__).parents[1]


def manifest_of(folder: Path, columns: dict[str, object], **options: object) -> Manifest:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "m.parquet")
    return Manifest.open(folder / "m.parquet", **options)  # type: ignore[arg-type]


def rows_of(manifest: Manifest) -> list[ManifestRow | BadRow]:
    return list(manifest.rows(0, manifest.num_rows))


def save_photo(path: Path, camera: tuple[str, str] | None = None, iso: object = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if camera:
        exif[0x010F], exif[0x0110] = camera
    if iso is not None:
        exif.get_ifd(0x8769)[0x8827] = iso
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path, exif=exif)


def scan(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["make-manifest", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def test_a_path_alone_is_enough(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, {"path": ["a.png", "b/c.png"]})
    expected = [(0, "a.png"), (1, "b/c.png")]
    assert rows_of(manifest) == [
        ManifestRow(i, tmp_path.resolve() / text, text, None, None, {}) for i, text in expected
    ]
    assert manifest.num_rows == 2
    assert manifest.sha256 == hashlib.sha256((tmp_path / "m.parquet").read_bytes()).hexdigest()


def test_all_columns_arrive_with_the_row(tmp_path: Path) -> None:
    columns = {
        "path": ["a.png"],
        "camera": ["S6"],
        "iso": [800],
        "id": ["first"],
        "scene": ["mouse"],
        "n": [3],
    }
    manifest = manifest_of(tmp_path, columns)
    assert manifest.extra_columns == ("scene", "n")
    assert rows_of(manifest) == [
        ManifestRow(0, tmp_path.resolve() / "a.png", "first", "S6", 800, {"scene": "mouse", "n": 3})
    ]


def test_missing_camera_and_iso_stay_open(tmp_path: Path) -> None:
    iso = pa.array([float("nan"), 100.0, None])
    manifest = manifest_of(tmp_path, {"path": ["a", "b", "c"], "iso": iso, "camera": pa.nulls(3)})
    assert [(row.camera, row.iso) for row in rows_of(manifest)] == [(None, None), (None, 100), (None, None)]


def test_a_table_written_by_pandas_is_read(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"path": ["a.png", "b.png"], "iso": [100, None], "camera": pd.Categorical(["S6", None])}
    )
    frame.to_parquet(tmp_path / "m.parquet")
    rows = rows_of(Manifest.open(tmp_path / "m.parquet"))
    assert [(row.camera, row.iso) for row in rows] == [("S6", 100), (None, None)]


def test_whole_numbers_serve_as_ids(tmp_path: Path) -> None:
    assert [row.id for row in rows_of(manifest_of(tmp_path, {"path": ["a", "b"], "id": [7, None]}))] == [
        "7",
        "b",
    ]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"path": pa.array([None], pa.string())}, "missing_path"),
        ({"path": [""]}, "missing_path"),
        ({"path": ["a\0b.png"]}, "bad_path"),
        ({"path": ["../a.png"]}, "outside_root"),
        ({"path": ["/etc/hostname"]}, "outside_root"),
        ({"path": ["a"], "id": [""]}, "bad_id"),
        ({"path": ["a"], "iso": [-100]}, "bad_iso"),
        ({"path": ["a"], "iso": [0]}, "bad_iso"),
        ({"path": ["a"], "iso": [100.5]}, "bad_iso"),
        ({"path": ["a"], "iso": [math.inf]}, "bad_iso"),
        ({"path": ["a"], "weight": [math.inf]}, "bad_extra"),
        ({"path": pa.array([b"\xff.png"]).cast(pa.string(), safe=False)}, "bad_value"),
    ],
)
def test_a_bad_row_is_recorded_and_the_next_one_read(
    tmp_path: Path, columns: dict[str, list[object]], reason: str
) -> None:
    good = {"path": "good.png", "iso": 100, "id": "good", "weight": 1.0}
    table = pa.table(columns)
    table = pa.concat_tables(
        [table, pa.table({k: pa.array([good[k]], table.schema.field(k).type) for k in columns})]
    )
    pq.write_table(table, tmp_path / "m.parquet")
    bad, following = rows_of(Manifest.open(tmp_path / "m.parquet"))
    assert isinstance(bad, BadRow)
    assert (bad.index, bad.reason) == (0, reason)
    assert "row 0" in bad.message
    assert "\n" not in bad.message
    assert isinstance(following, ManifestRow)


def test_a_row_outside_names_the_two_ways_to_allow_it(tmp_path: Path) -> None:
    (row,) = rows_of(manifest_of(tmp_path / "m", {"path": ["../a.png"]}))
    assert isinstance(row, BadRow)
    assert "--root" in row.message
    assert "--allow-outside" in row.message


def test_root_is_where_relative_paths_start_and_what_they_may_not_leave(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    inside = str(tmp_path / "photos" / "b.png")
    manifest = manifest_of(tmp_path / "m", {"path": ["a.png", inside, "../c.png"]}, root=tmp_path / "photos")
    first, second, third = rows_of(manifest)
    assert isinstance(first, ManifestRow)
    assert first.path == (tmp_path / "photos" / "a.png").resolve()
    assert isinstance(second, ManifestRow)
    assert isinstance(third, BadRow)


def test_outside_can_be_allowed(tmp_path: Path) -> None:
    (row,) = rows_of(manifest_of(tmp_path / "m", {"path": ["../c.png"]}, allow_outside=True))
    assert isinstance(row, ManifestRow)
    assert row.path == tmp_path.resolve() / "c.png"


def test_a_symbolic_link_does_not_lead_outside(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "m" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "m" / "loop").symlink_to(tmp_path / "m" / "loop")
    row, loop = rows_of(manifest_of(tmp_path / "m", {"path": ["link/a.png", "loop"]}))
    assert isinstance(row, BadRow)
    assert row.reason == "outside_root"
    assert isinstance(loop, ManifestRow)


def test_extra_values_fit_into_json(tmp_path: Path) -> None:
    columns = {
        "path": ["a"],
        "taken": [datetime.datetime(2020, 1, 2, 3, 4, 5)],
        "day": [datetime.date(2020, 1, 2)],
        "price": pa.array(["1.50"]).cast(pa.decimal128(5, 2)),
        "score": [math.nan],
        "tags": [["x", "y"]],
        "box": [{"left": 1, "until": datetime.date(2021, 1, 1)}],
        "flag": [True],
    }
    (row,) = rows_of(manifest_of(tmp_path, columns))
    assert isinstance(row, ManifestRow)
    assert json.loads(json.dumps(row.extra, allow_nan=False)) == {
        "taken": "2020-01-02T03:04:05",
        "day": "2020-01-02",
        "price": "1.50",
        "score": None,
        "tags": ["x", "y"],
        "box": {"left": 1, "until": "2021-01-01"},
        "flag": True,
    }


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"file": ["a"]}, "no column 'path'.*file"),
        ({"path": [1]}, "'path'.*int64.*text"),
        ({"path": ["a"], "camera": [1]}, "'camera'.*text"),
        ({"path": ["a"], "iso": ["100"]}, "'iso'.*whole numbers"),
        ({"path": ["a"], "iso": [True]}, "'iso'.*bool"),
        ({"path": ["a"], "id": [1.5]}, "'id'"),
        ({"path": ["a"], "thumbnail": [b"\x89PNG"]}, "'thumbnail'.*binary.*drop"),
    ],
)
def test_a_wrong_column_is_refused_before_any_row(
    tmp_path: Path, columns: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        manifest_of(tmp_path, columns)


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["path", "path"])
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(UsageError, match="more than once"):
        Manifest.open(tmp_path / "m.parquet")


def test_what_is_not_parquet_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path\na.png\n")
    (tmp_path / "m.json").write_text("{}")
    (tmp_path / "empty.parquet").touch()
    pq.write_table(pa.table({"path": ["a"] * 1000}), tmp_path / "whole.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-20])
    told = {
        "m.csv": "convert it with.*read_csv",
        "m.json": "not a Parquet file; make one with: noisegen make-manifest",
        "empty.parquet": "not a Parquet file",
        "cut.parquet": "cannot be read as Parquet",
        "none.parquet": "does not exist; make it with: noisegen make-manifest",
        ".": "is a folder; scan it with: noisegen make-manifest",
    }
    for name, message in told.items():
        with pytest.raises(UsageError, match=message) as error:
            Manifest.open(tmp_path / name)
        assert "\n" not in str(error.value)


def test_the_conversion_that_a_csv_is_told_works(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,camera,iso\na.png,S6,100\nb.png,,\n")
    with pytest.raises(UsageError) as error:
        Manifest.open(tmp_path / "m.csv")
    program = str(error.value).split('python -c "')[1].split('"')[0]
    subprocess.run([sys.executable, "-c", program], check=True)
    rows = rows_of(Manifest.open(tmp_path / "m.parquet"))
    assert [(row.id, row.camera, row.iso) for row in rows] == [("a.png", "S6", 100), ("b.png", None, None)]


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--root"):
        manifest_of(tmp_path, {"path": ["a"]}, root=tmp_path / "none")


def test_damage_inside_the_file_is_one_line_and_not_a_crash(tmp_path: Path) -> None:
    paths = [hashlib.sha256(bytes([i % 256, i // 256])).hexdigest() for i in range(5000)]
    pq.write_table(pa.table({"path": paths}), tmp_path / "m.parquet", use_dictionary=False)
    data = bytearray((tmp_path / "m.parquet").read_bytes())
    data[4:3000] = bytes(2996)
    (tmp_path / "m.parquet").write_bytes(data)
    manifest = Manifest.open(tmp_path / "m.parquet")
    with pytest.raises(UsageError, match="cannot be read"):
        rows_of(manifest)


def test_a_column_name_that_is_not_utf8_is_one_line_and_not_a_crash(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a"], "zzzz": ["b"]}), tmp_path / "m.parquet", store_schema=False)
    data = (tmp_path / "m.parquet").read_bytes()
    (tmp_path / "m.parquet").write_bytes(data.replace(b"zzzz", b"z\xb1\xb1z"))
    with pytest.raises(UsageError, match="cannot be read as Parquet"):
        Manifest.open(tmp_path / "m.parquet")


@pytest.mark.parametrize("field", ["file", "group"])
def test_rows_that_are_stated_but_not_there_are_not_left_out_silently(tmp_path: Path, field: str) -> None:
    pq.write_table(pa.table({"path": ["a"] * 50}), tmp_path / "m.parquet", store_schema=False)
    data = (tmp_path / "m.parquet").read_bytes()
    # Thrift's zigzag number 50, once for the file and once for its only group of rows
    footer = data.rindex(b"PAR1") - 4 - int.from_bytes(data[-8:-4], "little")
    places = [i for i in range(footer, len(data)) if data[i : i + 2] == b"\x16\x64"]
    place = places[0] if field == "file" else places[-1]
    (tmp_path / "m.parquet").write_bytes(data[:place] + b"\x16\x66" + data[place + 2 :])
    with pytest.raises(UsageError, match=r"damaged|cannot be read"):
        rows_of(Manifest.open(tmp_path / "m.parquet"))


@pytest.mark.parametrize("group", [1, 7, 1000, 5000])
def test_any_slice_is_the_same_rows_however_the_file_is_grouped(tmp_path: Path, group: int) -> None:
    paths = [f"{i}.png" for i in range(3000)]
    pq.write_table(pa.table({"path": paths}), tmp_path / "m.parquet", row_group_size=group)
    manifest = Manifest.open(tmp_path / "m.parquet")
    for start, stop in (
        (0, 3000),
        (0, 1),
        (999, 1001),
        (1023, 1025),
        (2047, 2999),
        (2999, 3000),
        (5, 5),
        (2990, 9999),
    ):
        rows = list(manifest.rows(start, stop))
        assert [row.index for row in rows] == list(range(start, min(stop, 3000)))
        assert [row.id for row in rows] == paths[start:stop]


MEMORY_PROGRAM = """
import sys
from pathlib import Path
from noisegen.manifest import Manifest
manifest = Manifest.open(Path(sys.argv[1]))
assert sum(1 for _ in manifest.rows(0, manifest.num_rows)) == manifest.num_rows
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("row_group_size", [8192, 1_000_000])
def test_many_rows_cost_no_more_memory_than_few(tmp_path: Path, row_group_size: int) -> None:
    peaks = {}
    for count in (2_000, 80_000):
        notes = [hashlib.sha512(b"%d" % i).hexdigest() * 8 for i in range(count)]
        table = pa.table({"path": [f"{i}.png" for i in range(count)], "note": notes})
        pq.write_table(table, tmp_path / "m.parquet", row_group_size=row_group_size, compression="none")
        program = [sys.executable, "-c", MEMORY_PROGRAM, str(tmp_path / "m.parquet")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "ARROW_DEFAULT_MEMORY_POOL": "system"}
        output = subprocess.run(program, check=True, capture_output=True, text=True, env=environment).stdout
        peaks[count] = int(output)
    kilobytes_of_text = 80_000 * len(notes[0]) // 1000
    assert peaks[80_000] - peaks[2_000] < kilobytes_of_text / 4, peaks


def test_a_cell_beyond_its_dictionary_is_a_bad_value() -> None:
    """As damage to a file's dictionary page leaves it."""
    column = pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([], pa.string()), safe=False)
    with pytest.raises(InputError, match="'camera' cannot be read") as caught:
        read_cell(pa.RecordBatch.from_arrays([column], ["camera"]), "camera", 0)
    assert caught.value.reason == "bad_value"


def test_writing_takes_rows_as_they_come_and_leaves_no_half_file(tmp_path: Path) -> None:
    schema = pa.schema([("path", pa.string()), ("iso", pa.int64())])
    out = tmp_path / "new" / "m.parquet"
    assert write_manifest(({"path": f"{i}.png"} for i in range(20_000)), out, schema) == 20_000
    assert pq.ParquetFile(out).num_row_groups > 1
    before = out.read_bytes()

    def failing() -> object:
        yield from ({"path": f"{i}.png"} for i in range(10_000))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_manifest(failing(), out, schema)  # type: ignore[arg-type]
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["m.parquet"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        write_manifest([{"path": "a"}], tmp_path / "file" / "m.parquet", pa.schema([("path", pa.string())]))


def test_a_scan_reads_camera_and_iso_from_exif(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "b.jpg", ("Canon", "Canon EOS 5D Mark II"), 3200)
    save_photo(tmp_path / "photos" / "sub" / "a.JPG", ("SONY", "ILCE-7M2\0 "), (1600, 0))
    save_photo(tmp_path / "photos" / "c.png", ("NIKON CORPORATION", "NIKON D800"))
    save_photo(tmp_path / "photos" / "d.png")
    code, out, _ = scan(tmp_path / "photos", "-o", tmp_path / "m.parquet")
    assert code == 0
    assert "4 photographs, 3 with a camera, 2 with an ISO" in out
    rows = rows_of(Manifest.open(tmp_path / "m.parquet"))
    assert [(row.id, row.camera, row.iso) for row in rows] == [
        ("b.jpg", "Canon EOS 5D Mark II", 3200),
        ("c.png", "NIKON D800", None),
        ("d.png", None, None),
        ("sub/a.JPG", "SONY ILCE-7M2", 1600),
    ]
    assert isinstance(rows[0], ManifestRow)
    assert rows[0].path == (tmp_path / "photos" / "b.jpg").resolve()
    assert rows[0].extra == {"width": 30, "height": 20}


def test_a_scan_renames_cameras_or_leaves_conditions_to_the_draw(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.jpg", ("Canon", "Canon EOS 5D Mark II"), 3200)
    out = tmp_path / "m.parquet"
    assert scan(tmp_path, "-o", out, "--camera-map", "Canon EOS 5D Mark II=Canon5D2")[0] == 0
    assert pq.read_table(out, columns=["camera", "iso"]).to_pylist() == [{"camera": "Canon5D2", "iso": 3200}]
    assert scan(tmp_path, "-o", out, "--conditions", "draw")[0] == 0
    assert pq.read_table(out, columns=["camera", "iso"]).to_pylist() == [{"camera": None, "iso": None}]
    code, _, err = scan(tmp_path, "-o", out, "--camera-map", "Canon5D2")
    assert code == 2
    assert "EXIF=NAME" in err


def test_a_scan_skips_hidden_and_foreign_files_and_can_be_narrowed(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", ".hidden.png", ".cache/c.png", "train/d.png"):
        save_photo(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no photograph")
    out = tmp_path / "m.parquet"

    def found(*options: str) -> list[str]:
        assert scan(tmp_path / "photos", "-o", out, *options)[0] == 0
        return [row.id for row in rows_of(Manifest.open(out))]

    assert found() == ["a.png", "b.jpg", "train/d.png"]
    assert found("--include", "*.png") == ["a.png", "train/d.png"]
    assert found("--include", "train/*", "--include", "b.*") == ["b.jpg", "train/d.png"]


def test_a_scan_reports_what_it_leaves_out_and_exits_3(tmp_path: Path) -> None:
    save_photo(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:-9])
    (tmp_path / "empty.jpg").touch()
    code, out, err = scan(tmp_path, "-o", tmp_path / "m.parquet", "--json")
    assert code == 3
    assert "left out (truncated)" in err
    assert "left out (empty_file)" in err
    summary = json.loads(out)
    assert summary["photographs"] == 1
    assert [row["reason"] for row in summary["skipped"]] == ["truncated", "empty_file"]
    assert [row.id for row in rows_of(Manifest.open(tmp_path / "m.parquet"))] == ["good.png"]


def test_photographs_elsewhere_are_absolute_and_need_the_root_that_is_told(tmp_path: Path) -> None:
    save_photo(tmp_path / "photos" / "a.png")
    code, out, _ = scan(tmp_path / "photos", "-o", tmp_path / "elsewhere" / "m.parquet")
    assert code == 0
    assert f"--root {(tmp_path / 'photos').resolve()}" in out
    path = tmp_path / "elsewhere" / "m.parquet"
    assert isinstance(rows_of(Manifest.open(path))[0], BadRow)
    (row,) = rows_of(Manifest.open(path, root=tmp_path / "photos"))
    assert isinstance(row, ManifestRow)
    assert row.path.is_file()
    assert row.id == "a.png"


def test_a_folder_of_an_installed_package_can_be_scanned(tmp_path: Path) -> None:
    code, _, err = scan("pkg:noisegen/models", "-o", tmp_path / "m.parquet")
    assert code == 2
    assert "no photographs found" in err
    for source, told in (
        ("pkg:no_such_package/x", "no Python package"),
        ("pkg:noisegen/none", "no folder 'none'"),
    ):
        code, _, err = scan(source, "-o", tmp_path / "m.parquet")
        assert code == 2
        assert told in err


def test_a_scan_that_finds_nothing_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for source in ("photos", "missing"):
        assert scan(tmp_path / source, "-o", tmp_path / "m.parquet")[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
