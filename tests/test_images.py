"""Reading photographs: what is read exactly, and what is refused with which reason."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from noisegen.errors import InputError
from noisegen.images import ImageInfo, probe, read_exif, read_image

RNG = np.random.default_rng(0)
COLOUR8 = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)
COLOUR16 = RNG.integers(0, 65536, (40, 30, 3), dtype=np.uint16)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *extra: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    parts = [b"\x89PNG\r\n\x1a\n", header, *extra, png_chunk(b"IDAT", zlib.compress(rows))]
    return b"".join([*parts, png_chunk(b"IEND", b"")])


def rows16(pixels: np.ndarray) -> bytes:
    flat = np.ascontiguousarray(pixels, ">u2").view(np.uint8).reshape(len(pixels), -1)
    return np.hstack([np.zeros((len(pixels), 1), np.uint8), flat]).tobytes()


def reason_of(path: Path, **options: int) -> str:
    with pytest.raises(InputError) as error:
        read_image(path, **options)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return error.value.reason


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_8_bit_rgb_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOUR8).save(path, **({"lossless": True} if suffix == "webp" else {}))
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, COLOUR8)
    assert probe(path) == ImageInfo(30, 40, 3, 8, {"tif": "TIFF"}.get(suffix, suffix.upper()))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_16_bits_are_read(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"a.{suffix}"
    expected = COLOUR16[..., :channels]
    cv2.imwrite(str(path), expected[..., ::-1])
    pixels = read_image(path)
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, expected)
    assert probe(path) == ImageInfo(30, 40, channels, 16, "TIFF" if suffix == "tif" else "PNG")


def test_a_picture_with_one_channel_stays_grey(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        Image.fromarray(COLOUR8[..., 0]).save(tmp_path / f"grey.{suffix}")
        assert read_image(tmp_path / f"grey.{suffix}").shape == (40, 30, 1)
        assert probe(tmp_path / f"grey.{suffix}").channels == 1


def test_a_palette_becomes_rgb_and_one_bit_becomes_grey(tmp_path: Path) -> None:
    palette = Image.fromarray(COLOUR8).quantize(16)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), np.array(palette.convert("RGB")))
    assert probe(tmp_path / "palette.png").channels == 3
    palette.save(tmp_path / "opaque.png", transparency=200)
    np.testing.assert_array_equal(read_image(tmp_path / "opaque.png"), np.array(palette.convert("RGB")))
    bits = COLOUR8[..., 0] > 127
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png")[..., 0], bits * np.uint8(255))


def test_a_still_gif_is_read(tmp_path: Path) -> None:
    Image.fromarray(COLOUR8[..., 0]).save(tmp_path / "a.gif")
    assert read_image(tmp_path / "a.gif").shape[:2] == (40, 30)


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOUR8).save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    with Image.open(path) as stored:
        expected = np.array(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(read_image(path), expected)
    info = probe(path)
    assert (info.height, info.width) == expected.shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_16_bits(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray((COLOUR16 >> 8).astype(np.uint8)).save(tmp_path / "8.png", exif=exif)
    expected = read_image(tmp_path / "8.png")
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "16.png").write_bytes(png(30, 40, 16, 2, rows16(COLOUR16), png_chunk(b"eXIf", block)))
    grey = Image.fromarray(COLOUR16[..., 0])
    grey.save(tmp_path / "16.tif", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "16.png") >> 8, expected)
    np.testing.assert_array_equal(read_image(tmp_path / "16.tif") >> 8, expected[..., :1])
    for name in ("16.png", "16.tif"):
        assert (probe(tmp_path / name).height, probe(tmp_path / name).width) == expected.shape[:2]


def test_camera_tags_are_read_from_jpeg_and_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "Canon EOS 5D Mark II"
    for name in ("a.jpg", "a.png"):
        Image.fromarray(COLOUR8).save(tmp_path / name, exif=exif)
        assert read_exif(tmp_path / name).get(0x0110) == "Canon EOS 5D Mark II"
    Image.fromarray(COLOUR8).save(tmp_path / "plain.jpg")
    assert dict(read_exif(tmp_path / "plain.jpg")) == {}


def test_broken_exif_does_not_lose_the_photograph(tmp_path: Path) -> None:
    Image.fromarray(COLOUR8).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*garbage")
    assert read_image(tmp_path / "a.jpg").shape == (40, 30, 3)


def test_missing_empty_and_foreign_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("this is not a picture")
    (tmp_path / "header.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert reason_of(tmp_path / "none.png") == "missing"
    assert reason_of(tmp_path / "text.png" / "under.png") == "missing"
    assert reason_of(tmp_path / "empty.png") == "empty_file"
    assert reason_of(tmp_path / "text.png") == "unreadable"
    assert reason_of(tmp_path / "header.jpg") in ("unreadable", "truncated")
    assert reason_of(tmp_path) == "unreadable"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert reason_of(tmp_path / "pipe.png") == "unreadable"


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp", "gif"])
def test_no_cut_of_a_file_is_read_as_a_picture(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(COLOUR8).save(whole, **({"lossless": True} if suffix == "webp" else {}))
    data = whole.read_bytes()
    for kept in [*range(20, len(data) - 2, 97), len(data) - 2]:
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[:kept])
        if suffix in ("gif", "bmp") and kept == len(data) - 2:
            continue  # only the trailer or the padding of the last row is gone, every pixel is there
        assert reason_of(cut) in ("truncated", "unreadable"), kept
    if suffix not in ("gif", "bmp"):
        assert reason_of(cut) == "truncated"


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_no_cut_of_a_16_bit_file_is_read_as_a_picture(tmp_path: Path, suffix: str, channels: int) -> None:
    whole = tmp_path / f"whole.{suffix}"
    cv2.imwrite(str(whole), COLOUR16[..., :channels])
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    for kept in [*range(20, len(data), 97), len(data) - 8, len(data) - 1]:
        cut.write_bytes(data[:kept])
        assert reason_of(cut) == "truncated", kept


@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_with_a_wrong_checksum_is_damaged(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), COLOUR8 if depth == 8 else COLOUR16)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert reason_of(path) == "unreadable"


@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_whose_sound_chunks_hold_too_few_rows_is_refused(tmp_path: Path, depth: int) -> None:
    row = 1 + 30 * 3 * depth // 8
    (tmp_path / "a.png").write_bytes(png(30, 40, depth, 2, bytes(row * 20)))
    assert reason_of(tmp_path / "a.png") in ("truncated", "unreadable")


def test_a_jpeg_with_a_zero_filled_tail_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    thumbnail = Image.fromarray(COLOUR8)
    exif = Image.Exif()
    exif[0x0110] = "camera \xff\xd9"
    thumbnail.resize((400, 400)).save(path, exif=exif)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    assert reason_of(path) == "truncated"


def test_cmyk_is_refused(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.tif"):
        Image.new("CMYK", (8, 8)).save(tmp_path / name)
        assert reason_of(tmp_path / name) == "cmyk"


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_more_than_one_frame_or_page_is_refused(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert reason_of(tmp_path / f"a.{suffix}") == "animated"


def test_a_phone_jpeg_with_a_second_picture_is_its_first(tmp_path: Path) -> None:
    first, second = Image.fromarray(COLOUR8), Image.new("RGB", (5, 5))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    first.save(tmp_path / "single.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), read_image(tmp_path / "single.jpg"))


def test_opaque_alpha_is_dropped_and_real_transparency_refused(tmp_path: Path) -> None:
    for depth, pixels in ((8, COLOUR8), (16, COLOUR16)):
        opaque = np.full((40, 30, 1), np.iinfo(pixels.dtype).max, pixels.dtype)
        holed = opaque.copy()
        holed[5, 5] -= 1
        for suffix in ("png", "tif"):
            good, bad = tmp_path / f"good{depth}.{suffix}", tmp_path / f"bad{depth}.{suffix}"
            cv2.imwrite(str(good), np.dstack([pixels[..., ::-1], opaque]))
            cv2.imwrite(str(bad), np.dstack([pixels[..., ::-1], holed]))
            np.testing.assert_array_equal(read_image(good), pixels)
            assert reason_of(bad) == "alpha"


def test_transparency_of_grey_and_palette_pictures_is_found(tmp_path: Path) -> None:
    grey = Image.fromarray(COLOUR8[..., 0])
    solid, clear = Image.new("L", grey.size, 255), Image.new("L", grey.size, 0)
    Image.merge("LA", (grey, solid)).save(tmp_path / "solid.png")
    np.testing.assert_array_equal(read_image(tmp_path / "solid.png")[..., 0], COLOUR8[..., 0])
    Image.merge("LA", (grey, clear)).save(tmp_path / "clear.png")
    grey.save(tmp_path / "key.png", transparency=int(COLOUR8[0, 0, 0]))
    Image.fromarray(COLOUR8).quantize(16).save(tmp_path / "palette.png", transparency=3)
    two_bits = png(4, 1, 2, 0, b"\0\x1b", png_chunk(b"tRNS", b"\0\1"))
    (tmp_path / "key2.png").write_bytes(two_bits)
    for name in ("clear.png", "key.png", "key2.png", "palette.png"):
        assert reason_of(tmp_path / name) == "alpha"


def test_transparency_by_colour_key_is_found_in_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for channels, colour_type in ((1, 0), (3, 2)):
        pixels = COLOUR16[..., :channels] | 1
        used, unused = pixels[3, 3].astype(">u2").tobytes(), bytes(2 * channels)
        path.write_bytes(png(30, 40, 16, colour_type, rows16(pixels), png_chunk(b"tRNS", used)))
        assert reason_of(path) == "alpha"
        path.write_bytes(png(30, 40, 16, colour_type, rows16(pixels), png_chunk(b"tRNS", unused)))
        np.testing.assert_array_equal(read_image(path), pixels)


def test_16_bit_grey_with_alpha_stays_grey(tmp_path: Path) -> None:
    grey = COLOUR16[..., :1]
    pixels = np.dstack([grey, np.full_like(grey, 65535)])
    (tmp_path / "a.png").write_bytes(png(30, 40, 16, 4, rows16(pixels)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), grey)
    assert probe(tmp_path / "a.png").channels == 1


def test_a_huge_header_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(100_000, 100_000, 8, 2, b""))
    assert reason_of(path) == "too_large"
    with pytest.raises(InputError) as error:
        probe(path)
    assert error.value.reason == "too_large"


def test_the_limit_on_pixels_is_the_callers_and_not_pillows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(COLOUR8).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=1200).shape == (40, 30, 3)
    assert reason_of(tmp_path / "a.png", max_pixels=1199) == "too_large"
    assert Image.MAX_IMAGE_PIXELS == 100


def test_layouts_that_would_be_misread_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "float.tif"), COLOUR8.astype(np.float32))
    Image.fromarray(COLOUR8).convert("LAB").save(tmp_path / "lab.tif")
    Image.fromarray(COLOUR8[..., 0].astype(np.int32)).save(tmp_path / "int.tif")
    Image.fromarray(COLOUR16[..., 0]).save(tmp_path / "inverted.tif", tiffinfo={262: 0})
    for name in ("float.tif", "lab.tif", "int.tif", "inverted.tif"):
        assert reason_of(tmp_path / name) == "unsupported_mode", name
