"""Properties that hold for all inputs, tried on many that hypothesis invents; the same ones on every run."""

from __future__ import annotations

import io
import string
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from synthesis_fixtures import VOCABULARY

from noisegen.errors import InputError
from noisegen.manifest import BadRow, Manifest, ManifestRow
from noisegen.png import decode_png, encode_png
from noisegen.synthesis.files import read_sealed_json, write_sealed_json
from noisegen.synthesis.randomness import tile_key
from noisegen.synthesis.shards import Failure, Marker, shards_of, tile_key_name
from noisegen.tiles import Tile, tile_grid

settings.register_profile(
    "noisegen",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("noisegen")

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
SIDES = st.integers(1, 400)
TILES = st.tuples(
    st.integers(0, 10**8 - 1), st.integers(0, 99), st.integers(0, 10**5 - 1), st.integers(0, 10**5 - 1)
)


@given(SIDES, SIDES, st.integers(1, 150))
def test_tiles_cover_every_pixel_have_one_size_and_overlap_only_at_the_end(
    height: int, width: int, size: int
) -> None:
    if min(height, width) < size:
        with pytest.raises(InputError):
            tile_grid(height, width, size)
        return
    grid = tile_grid(height, width, size)
    times = np.zeros((height, width), int)
    for tile in grid:
        assert tile.size == size
        part = times[tile.y : tile.y + size, tile.x : tile.x + size]
        assert part.shape == (size, size)
        part += 1
    assert times.min() >= 1
    assert len(grid) == -(-height // size) * -(-width // size)
    # what is covered twice lies in the last row or column of tiles
    inner = times[: height - size if height % size else height, : width - size if width % size else width]
    assert not inner.size or inner.max() == 1
    assert grid == sorted(set(grid), key=lambda t: (t.y, t.x))
    assert all(isinstance(tile, Tile) for tile in grid)


@given(st.lists(TILES, min_size=2, max_size=20, unique=True))
def test_keys_are_different_sort_as_their_tiles_and_are_names_of_files(
    tiles: list[tuple[int, int, int, int]],
) -> None:
    keys = [tile_key_name(*tile) for tile in tiles]
    assert len(set(keys)) == len(tiles)
    assert sorted(keys) == [tile_key_name(*tile) for tile in sorted(tiles)]
    # a dot would split a WebDataset key, and 100 bytes are what a USTAR name holds
    allowed = set(string.digits + "-")
    assert all(set(key) <= allowed and len(key) + len(".noisy.png") < 100 for key in keys)


@given(st.lists(st.tuples(*[st.integers(0, 10**12)] * 4), min_size=2, max_size=20, unique=True))
def test_keys_stay_different_beyond_the_width_of_their_fields(tiles: list[tuple[int, int, int, int]]) -> None:
    assert len({tile_key_name(*tile) for tile in tiles}) == len(tiles)


@given(st.integers(0, 10**7), st.integers(1, 10**6))
def test_shards_hold_every_row_once_and_in_order(rows: int, rows_per_shard: int) -> None:
    assume(rows / rows_per_shard < 10**4)
    shards = shards_of(rows, rows_per_shard)
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert [shard.start for shard in shards[1:]] == [shard.stop for shard in shards[:-1]]
    assert (shards[0].start, shards[-1].stop) == (0, rows) if shards else rows == 0
    assert all(0 < shard.stop - shard.start <= rows_per_shard for shard in shards)


@given(st.sets(TEXT, min_size=2, max_size=8), st.integers(0, 2**63 - 1), st.integers(0, 99))
def test_ids_seeds_and_variants_have_random_streams_of_their_own(
    ids: set[str], seed: int, variant: int
) -> None:
    streams = {
        (s, i, v): tile_key(s, i, v) for i in ids for s in (seed, seed ^ 1) for v in (variant, variant + 1)
    }
    assert len(set(streams.values())) == len(streams)


PICTURES = st.tuples(
    st.sampled_from([np.uint8, np.uint16]), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])
).flatmap(lambda shape: arrays(shape[0], shape[1:]))


@given(PICTURES)
def test_every_picture_comes_back_from_png_by_all_decoders(picture: np.ndarray) -> None:
    data = encode_png(picture)
    ours = decode_png(data)
    assert ours.dtype == picture.dtype and np.array_equal(ours, picture)
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    theirs = theirs[..., None] if theirs.ndim == 2 else theirs[..., ::-1]
    assert theirs.dtype == picture.dtype and np.array_equal(theirs, picture)
    # Pillow reduces RGB of 16 bits to 8
    if picture.dtype == np.uint8 or picture.shape[2] == 1:
        pillow = np.asarray(Image.open(io.BytesIO(data))).reshape(picture.shape)
        assert np.array_equal(pillow, picture)


@given(PICTURES, st.data())
def test_no_byte_of_a_png_can_change_unnoticed(picture: np.ndarray, data: st.DataObject) -> None:
    content = bytearray(encode_png(picture))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InputError):
        decode_png(bytes(content))


CAMERAS = st.sampled_from([None, "S6", "N6", "X9", ""])
ISOS = st.none() | st.integers(-5, 10_000)


@given(st.integers(0, 2**63 - 1), TEXT, st.integers(0, 99), CAMERAS, ISOS)
def test_a_draw_keeps_what_is_given_and_completes_it_to_what_is_known(
    seed: int, image_id: str, variant: int, camera: str | None, iso: int | None
) -> None:
    try:
        drawn = VOCABULARY.draw(seed, image_id, variant, camera, iso)
        mix = VOCABULARY.resolve(drawn)
    except InputError as error:
        assert error.reason in ("unknown_camera", "bad_iso", "iso_out_of_range")
        assert camera in ("X9", "") or iso is not None
        return
    assert drawn == VOCABULARY.draw(seed, image_id, variant, camera, iso)
    assert camera in (None, drawn.camera) and iso in (None, drawn.iso)
    assert {mix.low, mix.high} <= set(VOCABULARY.known)
    assert mix.low.iso <= drawn.iso <= mix.high.iso and mix.low.camera == mix.high.camera == drawn.camera
    assert 0 <= mix.weight < 1
    if iso is None:
        assert drawn in VOCABULARY.known


ROWS = st.lists(
    st.tuples(
        st.none() | TEXT | st.sampled_from(["a.png", "../a.png", "/etc/hostname", "b/./c.png"]),
        st.none() | TEXT,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | TEXT,
        st.none() | st.floats() | st.sampled_from([float("nan"), float("inf")]),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(ROWS, st.integers(1, 5))
def test_each_row_of_a_manifest_is_given_once_as_it_is_or_as_bad_with_a_reason(
    tmp_path: Path,
    rows: list[tuple[str | None, str | None, int | None, str | None, float | None]],
    group: int,
) -> None:
    columns = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    types = (pa.string(), pa.string(), pa.int64(), pa.string(), pa.float64())
    names = ["path", "camera", "iso", "id", "note"]
    table = pa.table([pa.array(list(c), t) for c, t in zip(columns, types, strict=True)], names=names)
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=group)
    manifest = Manifest.open(tmp_path / "m.parquet")
    found = list(manifest.rows(0, manifest.num_rows))
    assert [row.index for row in found] == list(range(len(rows)))
    ids = list(manifest.ids(manifest.num_rows))
    for row, name, (path, camera, iso, given_id, note) in zip(found, ids, rows, strict=True):
        if isinstance(row, BadRow):
            assert row.message and row.reason in (
                "missing_path", "bad_path", "outside_root", "bad_id", "bad_iso", "bad_extra"
            )  # fmt: skip
            continue
        assert isinstance(row, ManifestRow)
        assert path and "\0" not in path and row.path.is_relative_to(tmp_path.resolve())
        assert row.id == name == (path if given_id is None else given_id)
        assert (row.camera, row.iso) == (camera, iso) and (iso is None or iso > 0)
        assert row.extra == {"note": None if note != note else note}


@given(st.lists(st.tuples(st.integers(0, 99), TEXT, TEXT, TEXT, TEXT), max_size=4), st.data())
def test_no_byte_of_a_marker_can_change_unnoticed(
    tmp_path: Path, failures: list[tuple[int, str, str, str, str]], data: st.DataObject
) -> None:
    shard = shards_of(100, 100)[0]
    marker = Marker(shard, 5, (), tuple(Failure(*failure) for failure in failures), {}, {})
    path = tmp_path / "marker.json"
    write_sealed_json(path, marker.to_dict())
    assert read_sealed_json(path)["failures"] == marker.to_dict()["failures"]
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(Exception, match="damaged"):
        read_sealed_json(path)
