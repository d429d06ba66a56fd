"""`noisegen denoise` from the command line: files in, PNG out with what the source said beside its pixels."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from denoiser_fixtures import Sizes, random_denoiser, random_picture, write_denoiser
from PIL import ExifTags, Image, ImageCms

from noisegen.cli import main
from noisegen.denoising.inference import Denoiser
from noisegen.images import read_exif, read_image
from noisegen.png import encode_png

Run = Callable[..., Result]
EXIF_IFD, GPS_IFD = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command with a small denoiser; the outputs go to the folder out."""

    def invoke(*photos: Path | str, sizes: Sizes = Sizes()) -> Result:  # noqa: B008 (frozen)
        denoiser = write_denoiser(tmp_path / "denoiser.safetensors", sizes)
        where = ["-o", str(tmp_path / "out"), "--denoiser", str(denoiser), "--device", "cpu"]
        return CliRunner().invoke(main, ["denoise", *map(str, photos), *where])

    return invoke


def camera_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "Canon EOS 5D Mark II"
    exif[ExifTags.Base.Orientation] = orientation
    exif[EXIF_IFD] = {
        ExifTags.Base.ISOSpeedRatings: 1600,
        ExifTags.Base.ExposureTime: 0.008,
        ExifTags.Base.ExifImageWidth: 40,
        ExifTags.Base.ExifImageHeight: 24,
        ExifTags.Base.MakerNote: b"private",
    }
    exif[GPS_IFD] = {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (47.0, 30.0, 0.0)}
    return exif


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_exif_and_profile_are_kept_and_the_picture_is_turned_once(
    tmp_path: Path, run: Run, suffix: str, orientation: int
) -> None:
    source = tmp_path / f"a.{suffix}"
    Image.fromarray(random_picture(24, 40)).save(
        source, exif=camera_exif(orientation).tobytes(), icc_profile=PROFILE
    )
    result = run(source)
    assert result.exit_code == 0, result.output
    upright = read_image(source)
    expected = Denoiser(random_denoiser()).denoise(upright)
    with Image.open(tmp_path / "out" / "a.png") as written:
        np.testing.assert_array_equal(np.asarray(written), expected)
        assert written.info["icc_profile"] == PROFILE
        exif = written.getexif()
        assert exif[ExifTags.Base.Model] == "Canon EOS 5D Mark II"
        assert exif[ExifTags.Base.Orientation] == 1
        details = exif.get_ifd(EXIF_IFD)
        assert details[ExifTags.Base.ISOSpeedRatings] == 1600
        assert float(details[ExifTags.Base.ExposureTime]) == pytest.approx(0.008)
        width, height = details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight]
        assert (width, height) == written.size
        assert ExifTags.Base.MakerNote not in details
        assert exif.get_ifd(GPS_IFD)[ExifTags.GPS.GPSLatitude] == (47.0, 30.0, 0.0)
        assert not {256, 257, 258, 273, 279, 34675} & set(exif)
    assert read_image(tmp_path / "out" / "a.png").shape == upright.shape
    assert read_exif(tmp_path / "out" / "a.png")[ExifTags.Base.Model] == "Canon EOS 5D Mark II"


def test_a_photograph_that_says_nothing_gets_nothing(tmp_path: Path, run: Run) -> None:
    Image.fromarray(random_picture(9, 9)).save(tmp_path / "a.bmp")
    Image.fromarray(random_picture(9, 9)).save(tmp_path / "broken.jpg", exif=b"Exif\0\0MM\0*garbage")
    grey = Image.fromarray(random_picture(9, 9, 1)[..., 0])
    grey.convert("RGB").save(tmp_path / "profile.png", icc_profile=PROFILE[:16] + b"GRAY" + PROFILE[20:])
    assert run(tmp_path / "a.bmp", tmp_path / "broken.jpg", tmp_path / "profile.png").exit_code == 0
    for name in ("a.png", "broken.png", "profile.png"):
        with Image.open(tmp_path / "out" / name) as written:
            assert not dict(written.getexif())
            assert "icc_profile" not in written.info


def test_the_gamma_of_a_png_without_profile_is_kept(tmp_path: Path, run: Run) -> None:
    gamma = (100_000).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(encode_png(random_picture(9, 9), [(b"gAMA", gamma)]))
    assert run(tmp_path / "a.png").exit_code == 0
    with Image.open(tmp_path / "out" / "a.png") as written:
        assert written.info["gamma"] == 1.0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("bit_depth", "suffix"), [(8, "png"), (12, "png"), (16, "tif")])
def test_depth_and_channels_are_kept(
    tmp_path: Path, run: Run, channels: int, bit_depth: int, suffix: str
) -> None:
    picture = random_picture(24, 40, channels, bit_depth)
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), picture[..., ::-1])
    sizes = Sizes(channels, bit_depth=bit_depth)
    result = run(tmp_path / f"a.{suffix}", sizes=sizes)
    assert result.exit_code == 0, result.output
    expected = Denoiser(random_denoiser(sizes)).denoise(picture)
    output = tmp_path / "out" / "a.png"
    read = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read.reshape((*read.shape[:2], channels))[..., ::-1], expected)
    with Image.open(output) as written:
        if bit_depth == 8 or channels == 1:
            np.testing.assert_array_equal(np.asarray(written).reshape(expected.shape), expected)
        else:  # Pillow reads the upper byte
            np.testing.assert_array_equal(np.asarray(written), expected >> 8)


def test_16_bit_files_of_another_depth_are_scaled_on_request(tmp_path: Path, run: Run) -> None:
    picture = random_picture(9, 9, 3, 16)
    cv2.imwrite(str(tmp_path / "a.png"), picture[..., ::-1])
    result = run(tmp_path / "a.png", sizes=Sizes(bit_depth=12))
    assert result.exit_code == 3
    assert "--bit-depth" in result.stderr
    result = run(tmp_path / "a.png", "--bit-depth", "16", sizes=Sizes(bit_depth=12))
    assert result.exit_code == 0, result.output
    expected = Denoiser(random_denoiser(Sizes(bit_depth=12)), bit_depth=16).denoise(picture)
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "a.png"), expected)


def test_photographs_that_cannot_be_denoised_are_reported_and_the_others_done(
    tmp_path: Path, run: Run
) -> None:
    photos = tmp_path / "photos"
    (photos / "inner").mkdir(parents=True)
    for name in ("a.jpg", "z.png", ".hidden.png", "inner/not-taken.png"):
        Image.fromarray(random_picture(24, 40)).save(photos / name)
    Image.fromarray(random_picture(9, 9, 1)[..., 0]).save(photos / "grey.png")
    cv2.imwrite(str(photos / "deep.png"), random_picture(9, 9, 3, 16))
    (photos / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    (photos / "notes.txt").touch()
    result = run(photos)
    assert result.exit_code == 3
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.png", "z.png"]
    lines = result.stderr.splitlines()
    for name, reason in (
        ("grey.png", "format_mismatch"),
        ("deep.png", "format_mismatch"),
        ("broken.jpg", "trunc"),
    ):
        assert any(line.startswith(f"failed ({reason}") and str(photos / name) in line for line in lines)
    assert result.stdout == f"{tmp_path / 'out'}: 2 denoised, 0 skipped, 3 failed\n"
    last = json.loads(lines[-1])
    assert last["unit"] == "pixel"
    assert last["done"] == 2 * 24 * 40


def test_what_is_there_is_skipped_unless_told_otherwise(tmp_path: Path, run: Run) -> None:
    for name in ("a", "b"):
        Image.fromarray(random_picture(9, 9)).save(tmp_path / f"{name}.bmp")
    assert run(tmp_path / "a.bmp").exit_code == 0
    whole = (tmp_path / "out" / "a.png").read_bytes()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    result = run(tmp_path / "a.bmp", tmp_path / "b.bmp")
    assert result.exit_code == 0
    assert "1 denoised, 1 skipped" in result.stdout
    assert "--overwrite" in result.stderr
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
    assert "2 denoised, 0 skipped" in run(tmp_path / "a.bmp", tmp_path / "b.bmp", "--overwrite").stdout
    assert (tmp_path / "out" / "a.png").read_bytes() == whole


def test_the_tile_does_not_change_the_result(tmp_path: Path, run: Run) -> None:
    Image.fromarray(random_picture(50, 61)).save(tmp_path / "a.png")
    run(tmp_path / "a.png")
    whole = read_image(tmp_path / "out" / "a.png").astype(int)
    run(tmp_path / "a.png", "--overwrite", "--tile", "16")
    assert np.abs(read_image(tmp_path / "out" / "a.png") - whole).max() <= 1


def test_requests_that_cannot_be_carried_out_are_refused_before_any_work(tmp_path: Path, run: Run) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        Image.fromarray(random_picture(9, 9)).save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    Image.fromarray(random_picture(9, 9)).save(out / "own.png")
    for photos, words in (
        (["b.png", "a.png", "a.jpg"], ["a.png", "a.jpg"]),
        (["b.png", "missing.png"], ["missing.png does not exist"]),
        (["b.png", "empty"], ["no pictures"]),
        (["b.png", "out"], ["would be replaced"]),
    ):
        result = run(*(tmp_path / photo for photo in photos))
        assert result.exit_code == 2
        assert all(word in result.stderr for word in words), result.stderr
    assert run(tmp_path / "b.png", "--bit-depth", "12").exit_code == 2
    assert [file.name for file in out.iterdir()] == ["own.png"]


def test_the_same_photograph_twice_is_denoised_once(tmp_path: Path, run: Run) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(random_picture(9, 9)).save(tmp_path / "photos" / "a.png")
    assert "1 denoised" in run(tmp_path / "photos", tmp_path / "photos" / "a.png").stdout


@pytest.mark.parametrize("moment", ["denoising", "writing"])
def test_an_interrupt_leaves_whole_files_only(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    for name in ("a", "b", "c"):
        Image.fromarray(random_picture(9, 9)).save(tmp_path / f"{name}.bmp")
    photos = [tmp_path / f"{name}.bmp" for name in ("a", "b", "c")]
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        if moment == "denoising":
            denoise = Denoiser.denoise

            def interrupted_denoise(self: Denoiser, noisy: np.ndarray, **options: object) -> np.ndarray:
                if (out / "a.png").exists():
                    raise KeyboardInterrupt
                return denoise(self, noisy, **options)  # type: ignore[arg-type]

            patch.setattr(Denoiser, "denoise", interrupted_denoise)
        else:
            write_bytes = Path.write_bytes

            def interrupted_write(path: Path, data: bytes) -> int:
                if "b.png" not in path.name:
                    return write_bytes(path, data)
                write_bytes(path, data[:50])
                raise KeyboardInterrupt

            patch.setattr(Path, "write_bytes", interrupted_write)
        assert run(*photos).exit_code == 130
    assert [file.name for file in out.iterdir()] == ["a.png"]
    assert "2 denoised, 1 skipped" in run(*photos).stdout
    for photo in photos:
        with Image.open(io.BytesIO((out / f"{photo.stem}.png").read_bytes())) as written:
            written.verify()


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path, run: Run) -> None:
    Image.fromarray(random_picture(9, 9)).save(tmp_path / "a.bmp")
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    result = run(tmp_path / "a.bmp", "--overwrite")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.png"]
