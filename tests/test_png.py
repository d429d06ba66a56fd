"""Encoding and decoding of PNG, against two other decoders."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from noisegen import png
from noisegen.errors import InputError
from noisegen.png import decode_png, encode_png
from noisegen.synthesis.choices import PNG_LEVELS


def picture(dtype: type, channels: int, height: int = 37, width: int = 53) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, channels))
    return values.astype(dtype)


@pytest.fixture(params=["isal", "opencv"])
def either_encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With isal, and as where it cannot be imported."""
    if request.param == "opencv":
        monkeypatch.setattr(png, "isal_zlib", None)
    assert png.png_encoder().startswith(request.param)


@pytest.mark.usefixtures("either_encoder")
@pytest.mark.parametrize("level", PNG_LEVELS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_survives_each_level_according_to_opencv(dtype: type, channels: int, level: str) -> None:
    """OpenCV decodes with libpng."""
    image = picture(dtype, channels)
    data = encode_png(image, [(b"eXIf", b"MM\0*")], level=level)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    decoded = decoded[..., None] if channels == 1 else decoded[..., ::-1]
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, image)
    np.testing.assert_array_equal(decode_png(data), image)
    assert data[33:].find(b"eXIfMM\0*") == 4


@pytest.mark.usefixtures("either_encoder")
@pytest.mark.parametrize("level", PNG_LEVELS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_survives_each_level_according_to_pillow(channels: int, level: str) -> None:
    image = picture(np.uint8, channels)
    with Image.open(io.BytesIO(encode_png(image, level=level))) as decoded:
        decoded.load()
        assert decoded.mode == ("L" if channels == 1 else "RGB")
        np.testing.assert_array_equal(np.asarray(decoded).reshape(image.shape), image)


@pytest.mark.usefixtures("either_encoder")
@pytest.mark.parametrize("level", PNG_LEVELS)
def test_pillow_reads_16_bit_grey_and_finds_the_file_sound(level: str) -> None:
    image = picture(np.uint16, 1)
    with Image.open(io.BytesIO(encode_png(image, level=level))) as decoded:
        np.testing.assert_array_equal(np.asarray(decoded), image[..., 0])
    with Image.open(io.BytesIO(encode_png(image, level=level))) as decoded:
        decoded.verify()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_smooth_picture_with_noise_gets_smaller_from_level_to_level(dtype: type) -> None:
    """`small` must be of use on what it is made for: noise upon slopes."""
    y, x = np.mgrid[0:128, 0:128]
    noise = np.random.default_rng(0).normal(0, 6, (128, 128, 3))
    scale = np.iinfo(dtype).max / 255
    image = ((80 + y / 4 + x / 3)[..., None] + noise) * scale
    stored, fast, small = (len(encode_png(image.astype(dtype), level=level)) for level in PNG_LEVELS)
    assert small < fast < stored


def test_the_fallback_is_taken_where_isal_cannot_be_imported() -> None:
    code = (
        "import sys; sys.modules['isal'] = None\n"
        "import numpy as np\n"
        "from noisegen.png import decode_png, encode_png, png_encoder\n"
        "image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)\n"
        "assert (decode_png(encode_png(image)) == image).all()\n"
        "print(png_encoder())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("opencv "), done.stderr


def test_one_pixel_and_strided_views_are_encoded_too() -> None:
    image = picture(np.uint8, 3)
    for view in (image[:1, :1], image[::2, ::-3], image.transpose(1, 0, 2)):
        np.testing.assert_array_equal(decode_png(encode_png(view)), view)


def test_decode_png_gives_rgb_for_a_foreign_picture() -> None:
    image = picture(np.uint8, 3)
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "PNG")
    np.testing.assert_array_equal(decode_png(stored.getvalue()), image)


def test_the_same_picture_gives_the_same_bytes() -> None:
    assert encode_png(picture(np.uint8, 3)) == encode_png(picture(np.uint8, 3))


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (4, 4, 4), (0, 4, 3)])
def test_a_shape_that_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="picture"):
        encode_png(np.zeros(shape, np.uint8))


def test_a_level_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="stored, fast, small"):
        encode_png(picture(np.uint8, 3), level="best")


def test_a_type_that_would_lose_values_is_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        encode_png(np.zeros((4, 4, 3), np.float32))


def test_decode_png_refuses_damage() -> None:
    whole = encode_png(picture(np.uint8, 3))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data, reason in (
        (whole[:-5], "truncated"),
        (bytes(flipped), "unreadable"),
        (b"GIF89a", "unreadable"),
    ):
        with pytest.raises(InputError) as error:
            decode_png(data)
        assert error.value.reason == reason


def test_decode_png_refuses_sound_chunks_around_too_little_data() -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9 * 4))) + chunk(b"IEND", b"")
    with pytest.raises(InputError) as error:
        decode_png(data)
    assert error.value.reason == "unreadable"


def test_decode_png_refuses_alpha() -> None:
    stored = io.BytesIO()
    Image.new("RGBA", (4, 4)).save(stored, "PNG")
    with pytest.raises(InputError) as error:
        decode_png(stored.getvalue())
    assert error.value.reason == "unsupported_mode"
