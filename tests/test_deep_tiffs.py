"""TIFFs of 16 bits as other programs write them are read exactly or refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from noisegen.errors import InputError
from noisegen.images import probe, read_image

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 4096, (40, 33, 1), dtype=np.uint16)
COLOUR = RNG.integers(0, 65536, (40, 33, 3), dtype=np.uint16)
LZW, PACKBITS = 5, 32773


@pytest.mark.parametrize("picture", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"tile": (16, 16)},
        {"tile": (16, 16), "compression": "zlib"},
        {"rowsperstrip": 7},
    ],
    ids=str,
)
def test_each_byte_order_compression_and_layout_is_read_exactly(
    tmp_path: Path, picture: np.ndarray, byteorder: Any, layout: dict[str, Any]
) -> None:
    path = tmp_path / "a.tif"
    kind = "rgb" if picture.shape[2] == 3 else "minisblack"
    tifffile.imwrite(path, np.squeeze(picture), photometric=kind, byteorder=byteorder, **layout)
    assert np.array_equal(read_image(path), picture)
    assert (probe(path).bits, probe(path).channels) == (16, picture.shape[2])


def test_a_bigtiff_is_read_exactly_and_refused_where_it_is_big_endian(tmp_path: Path) -> None:
    for order in "<>":
        tifffile.imwrite(
            tmp_path / f"{ord(order)}.tif", COLOUR, photometric="rgb", bigtiff=True, byteorder=order
        )
    assert np.array_equal(read_image(tmp_path / f"{ord('<')}.tif"), COLOUR)
    with pytest.raises(InputError, match="big-endian BigTIFF") as caught:
        read_image(tmp_path / f"{ord('>')}.tif")
    assert caught.value.reason == "unsupported_mode"


@pytest.mark.parametrize("compression", [LZW, PACKBITS])
def test_lzw_and_packbits_are_read_exactly(tmp_path: Path, compression: int) -> None:
    for picture in (GREY, COLOUR):
        path = tmp_path / f"{picture.shape[2]}.tif"
        cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, compression])
        assert np.array_equal(read_image(path), picture)


@pytest.mark.parametrize(
    ("picture", "layout", "complaint"),
    [
        (GREY[..., 0], {"photometric": "miniswhite"}, "white stored as 0"),
        (GREY[..., 0].astype(np.int16), {"photometric": "minisblack"}, "signed"),
        (GREY[..., 0].astype(np.float32), {"photometric": "minisblack"}, "floating-point"),
        (COLOUR.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}, "separate planes"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused_by_name(
    tmp_path: Path, picture: np.ndarray, layout: dict[str, Any], complaint: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", picture, **layout)
    with pytest.raises(InputError, match=complaint) as caught:
        read_image(tmp_path / "a.tif")
    assert caught.value.reason == "unsupported_mode"


def test_packed_twelve_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY[..., 0], photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["BitsPerSample"].overwrite(12)
    with pytest.raises(InputError, match="TIFF of 12 bits") as caught:
        read_image(path)
    assert caught.value.reason == "unsupported_mode"
