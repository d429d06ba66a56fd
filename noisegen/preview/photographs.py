"""Previews of photograph files, and the files that come of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisegen.conditions import Condition
from noisegen.downscaling import downscale, downscaled_size
from noisegen.errors import InputError, UsageError
from noisegen.images import read_image, read_metadata
from noisegen.integrity import read_png_chunks
from noisegen.manifest_scan import look_at
from noisegen.models.pictures import check_picture
from noisegen.png import encode_png
from noisegen.preview.choice import choose_conditions
from noisegen.preview.columns import Preview, make_preview, noise_levels, shown_levels
from noisegen.preview.places import Place, asked_place, choose_places, crop_size
from noisegen.synthesis.files import write_atomically
from noisegen.synthesis.photograph_noise import PhotographNoise

__all__ = ["PreviewPlan", "PreviewRequest", "check_output", "plan_preview", "run_preview", "write_sheet"]

MARK = (b"tEXt", b"Software\0noisegen preview")


@dataclass(frozen=True)
class PreviewRequest:
    """What is wanted of a preview.

    Attributes:
        photo: the clean photograph.
        cameras, isos: what to show, see `noisegen.preview.choice.choose_conditions`.
        crops: x, y and side (None: as large as automatic ones) of the places to show; chosen where there are none.
        real: a noisy photograph of the same scene.
        seed, strength: of the noise. The photograph's file name is a further seed, as its id is in a build.
        gain: of the noise that is shown.
        downscale: the photograph (and the real one) is made smaller by this factor first.
        save_noisy: folder for the whole noisy photographs.
    """

    photo: Path
    cameras: tuple[str, ...] = ()
    isos: tuple[int, ...] = ()
    crops: tuple[tuple[int, int, int | None], ...] = ()
    real: Path | None = None
    seed: int = 0
    strength: float = 1.0
    gain: float | None = None
    downscale: float = 1.0
    save_noisy: Path | None = None


@dataclass(frozen=True)
class PreviewPlan:
    """What a preview will show.

    Attributes:
        request: what it is for.
        clean, real: the photographs, uint8 or uint16 [H, W, C].
        conditions: of the synthetic columns.
        places: of the crops.
        notes: how the conditions were chosen and what is left out, in words.
    """

    request: PreviewRequest
    clean: np.ndarray
    real: np.ndarray | None
    conditions: tuple[Condition, ...]
    places: tuple[Place, ...]
    notes: tuple[str, ...]


def plan_preview(request: PreviewRequest, noise: PhotographNoise) -> PreviewPlan:
    """Reads the photographs and chooses cameras, ISO settings and crops.

    Raises:
        InputError: a photograph cannot be read, or is not one that the model is for.
        UsageError: the request cannot be carried out.
    """
    clean = _read(request.photo, request.downscale)
    check_picture(noise.model, clean)
    real = None if request.real is None else _read(request.real, request.downscale)
    choice = choose_conditions(
        noise.vocabulary,
        request.cameras,
        request.isos,
        shot_with=_shot_with(request),
        noise_levels=lambda conditions: noise_levels(clean, noise, conditions),
    )
    height, width = crop_size(1 + (real is not None) + len(choice.conditions))
    if request.crops:
        places = tuple(
            asked_place(clean, x, y, side or height, side or width) for x, y, side in request.crops
        )
    else:
        places = choose_places(clean, height, width, shown_levels(clean, noise.model.bit_depth))
    return PreviewPlan(request, clean, real, choice.conditions, places, choice.notes)


def run_preview(
    plan: PreviewPlan, noise: PhotographNoise, *, advance: Callable[[], object] = lambda: None
) -> Preview:
    """Makes a planned preview, and writes the noisy photographs where that is asked for.

    Args:
        plan: of `plan_preview`.
        noise: the model.
        advance: called after each synthetic column.

    Raises:
        InputError: the model has no noise for a condition.
        UsageError: the real photograph is not like the clean one, or a file cannot be written.
    """
    request = plan.request
    return make_preview(
        plan.clean,
        noise,
        plan.conditions,
        plan.places,
        seed=request.seed,
        strength=request.strength,
        image_id=request.photo.name,
        real=plan.real,
        gain=request.gain,
        see=None if request.save_noisy is None else _saver(request, request.save_noisy, plan.conditions),
        advance=advance,
    )


def check_output(output: Path, *photographs: Path | None) -> None:
    """Makes sure that a sheet may be written: its name ends in .png, and no other file is lost.

    Raises:
        UsageError: with what to do.
    """
    if output.suffix.lower() != ".png":
        raise UsageError(f"{output}: a preview is a PNG file; give a name that ends in .png")
    if output.is_dir():
        raise UsageError(f"{output} is a folder; give the name of a file in it")
    if output.exists() and (
        any(photo is not None and photo.exists() and output.samefile(photo) for photo in photographs)
        or not _is_sheet(output)
    ):
        raise UsageError(
            f"{output} exists and is no earlier preview, so it is left alone; give another name or delete it"
        )


def write_sheet(output: Path, sheet: np.ndarray) -> None:
    """Writes a drawn preview as PNG, marked so that a later preview may take its place.

    Raises:
        UsageError: the file cannot be written.
    """
    _write(output, encode_png(sheet, [MARK], level="small"))


def _read(path: Path, factor: float) -> np.ndarray:
    picture = read_image(path)
    if factor != 1 and min(downscaled_size(picture.shape[0], picture.shape[1], factor)) < 1:
        raise UsageError(f"{path}: nothing is left of it when it is made smaller by {factor:g}")
    return downscale(picture, factor)


def _shot_with(request: PreviewRequest) -> tuple[str | None, int | None]:
    """Camera and ISO of EXIF, of the real photograph rather than the clean one."""
    for path in (request.real, request.photo):
        if path is not None:
            seen = look_at(path, path.name, path.name, conditions="exif", camera_map={})
            if seen.camera is not None:
                return seen.camera, seen.iso
    return None, None


def _is_sheet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return read_png_chunks(file, [MARK[0]]).get(MARK[0]) == MARK[1]
    except (InputError, OSError):
        return False


def _saver(
    request: PreviewRequest, folder: Path, conditions: Sequence[Condition]
) -> Callable[[Condition, np.ndarray], None]:
    """Writes noisy photographs with the clean one's EXIF and colour profile; none of the files may exist yet."""
    metadata = read_metadata(request.photo)
    files = {}
    for condition in conditions:
        camera = "".join(c if c.isalnum() or c in "-_" else "_" for c in condition.camera)
        files[condition] = folder / f"{request.photo.stem}.{camera}-iso{condition.iso}.png"
    for file in files.values():
        if file.exists():
            raise UsageError(
                f"{file} exists and is left alone; give --save-noisy another folder or delete it"
            )

    def save(condition: Condition, noisy: np.ndarray) -> None:
        _write(files[condition], encode_png(noisy, metadata.png_chunks(noisy.shape[2])))

    return save


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error}") from error
