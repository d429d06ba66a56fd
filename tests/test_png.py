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

from noisegen import native, png
from noisegen.errors import InputError
from noisegen.native import library
from noisegen.native.png import png_data
from noisegen.png import decode_png, encode_png
from noisegen.synthesis.choices import PNG_LEVELS


def picture(dtype: type, channels: int, height: int = 37, width: int = 53) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, channels))
    return values.astype(dtype)


@pytest.fixture(params=["noisegen", "isal", "opencv"])
def either_encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiled encoder, and as where it was not compiled, and as where isal cannot be imported either."""
    if request.param != "noisegen":
        monkeypatch.setattr(png, "library", lambda: None)
    elif library() is None:
        pytest.skip("the kernels were not compiled here")
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


@pytest.mark.usefixtures("either_encoder")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_smooth_picture_with_noise_does_not_get_larger_from_level_to_level(dtype: type) -> None:
    """On what the levels are made for: noise upon slopes."""
    y, x = np.mgrid[0:128, 0:128]
    noise = np.random.default_rng(0).normal(0, 6, (128, 128, 3))
    scale = np.iinfo(dtype).max / 255
    image = ((80 + y / 4 + x / 3)[..., None] + noise) * scale
    stored, fast, small = (len(encode_png(image.astype(dtype), level=level)) for level in PNG_LEVELS)
    assert small <= fast < stored


@pytest.mark.usefixtures("either_encoder")
def test_a_texture_that_repeats_is_smallest_at_the_level_that_searches() -> None:
    if png.isal_zlib is None:
        pytest.skip("OpenCV searches for runs only")
    texture = np.tile(picture(np.uint8, 3, 16, 16), (8, 8, 1))
    fast, small = (len(encode_png(texture, level=level)) for level in ("fast", "small"))
    assert small < fast


def _content(case: str, shape: tuple[int, int]) -> np.ndarray:
    """Bytes that lead the coder to its corners, uint8 [H, N]."""
    draw = np.random.default_rng(0)
    if case == "noise":
        return draw.integers(0, 256, shape, dtype=np.uint8)
    if case == "skewed":  # the rarest values would get codes that are too long
        return np.minimum(draw.geometric(0.5, shape), 255).astype(np.uint8)
    picture = np.full(shape, 200 if case == "flat" else 0, np.uint8)
    if case == "sparse":  # runs of zeros of any length
        picture[draw.random(shape) < 0.003] = 7
    return picture


@pytest.mark.skipif(library() is None, reason="the kernels were not compiled here")
@pytest.mark.parametrize("case", ["noise", "skewed", "flat", "black", "sparse"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 700_000), (257, 768), (900, 600), (4000, 1)])
def test_the_compiled_coder_writes_what_zlib_reads_back(shape: tuple[int, int], case: str) -> None:
    """Through the filter of the slower encoders, whatever the number of blocks and the lengths of codes and runs."""
    content = _content(case, shape)
    step = 3 if shape[1] % 3 == 0 else 1
    rows = content.reshape(shape[0], -1, step)
    data = png_data(content, step).tobytes()
    assert zlib.decompress(data) == png._filtered(rows, png._AVERAGE_FILTER).tobytes()
    assert len(data) <= content.size + shape[0] + 1024
    if case in ("flat", "black") and content.size > 100_000:
        assert len(data) < content.size / 10


@pytest.mark.skipif(library() is None, reason="the kernels were not compiled here")
def test_every_instruction_set_codes_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [_content(case, (300, 900)) for case in ("noise", "skewed", "sparse")]
    coded = []
    for kernels in map(native.load, native.compiled()):
        monkeypatch.setattr("noisegen.native.png.library", lambda kernels=kernels: kernels)
        coded.append([png_data(content, 3).tobytes() for content in contents])
    assert all(other == coded[0] for other in coded)


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
    assert done.stdout.split(", ")[-1].startswith("opencv "), done.stderr


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
