"""Clean photographs for training on fresh noise: of a folder, a manifest, or a list of files or arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisegen.errors import InputError, UsageError
from noisegen.images import ImageInfo, probe, read_image
from noisegen.manifest import BadRow, Manifest
from noisegen.manifest_scan import SkippedFile, resolve_source, scan_folder
from noisegen.models.pictures import check_picture
from noisegen.models.protocol import NoiseModel
from noisegen.remote import is_url

__all__ = ["CleanPhotograph", "Photographs", "clean_photographs"]

Photographs = str | Path | Sequence[str | Path | np.ndarray]


@dataclass(frozen=True)
class CleanPhotograph:
    """A photograph; that of a file stays on disk.

    Attributes:
        id: what its noise is drawn by, beside the seed: in a folder its path there, in a manifest its id, in a list
            its path or (of an array) its number.
        pixels: path, or uint8 or uint16 [H, W, C].
        info: size, channels and bits.
        camera, iso: None where they are to be drawn.
    """

    id: str
    pixels: Path | np.ndarray
    info: ImageInfo
    camera: str | None = None
    iso: int | None = None

    def load(self, model: NoiseModel) -> np.ndarray:
        """The pixels, uint8 or uint16 [H, W, C].

        Raises:
            UsageError: they cannot be read, or are not of the model's kind.
        """
        try:
            pixels = read_image(self.pixels) if isinstance(self.pixels, Path) else self.pixels
            check_picture(model, pixels)
        except InputError as error:
            raise UsageError(f"photograph {self.id}: {error}; or leave it out") from error
        return pixels


def clean_photographs(clean: Photographs) -> Iterator[CleanPhotograph | InputError]:
    """Looks at the header of each photograph; one that cannot be used comes as its error.

    Args:
        clean: folder (also ``pkg:PACKAGE/FOLDER``), manifest (.parquet), or paths and arrays, uint8 or uint16 [H, W, C]
            or [H, W].

    Raises:
        UsageError: there is no such folder or manifest.
    """
    if not isinstance(clean, str | Path):
        return _listed(clean)
    if is_url(str(clean)):
        raise UsageError(
            f"{clean}: photographs are read from local files; copy them here, or have noisegen build-dataset "
            "read the URL"
        )
    if str(clean).startswith("pkg:") or Path(clean).is_dir():
        return _scanned(Path(resolve_source(str(clean))))
    return _of_manifest(Manifest.open(Path(clean), allow_outside=True))


def _scanned(folder: Path) -> Iterator[CleanPhotograph | InputError]:
    for found in scan_folder(folder, base=folder, conditions="draw"):
        if isinstance(found, SkippedFile):
            yield InputError(found.reason, found.message)
        else:
            yield _of_file(found.id, folder / found.path)


def _of_manifest(manifest: Manifest) -> Iterator[CleanPhotograph | InputError]:
    for row in manifest.rows(0, manifest.num_rows):
        if isinstance(row, BadRow):
            yield InputError(row.reason, row.message)
        elif isinstance(row.path, str):
            yield InputError("remote", f"{row.path}: photographs are read from local files; copy it here")
        else:
            yield _of_file(row.id, row.path, row.camera, row.iso)


def _listed(clean: Iterable[str | Path | np.ndarray]) -> Iterator[CleanPhotograph | InputError]:
    for number, each in enumerate(clean):
        if not isinstance(each, np.ndarray):
            yield _of_file(str(each), Path(each))
            continue
        pixels = each[..., None] if each.ndim == 2 else each
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.dtype not in (np.uint8, np.uint16):
            yield InputError(
                "shape",
                f"picture {number} is {each.dtype} {list(each.shape)}; give uint8 or uint16 "
                "[height, width, 1 or 3]",
            )
            continue
        height, width, channels = pixels.shape
        info = ImageInfo(width, height, channels, 8 * pixels.dtype.itemsize, "array")
        yield CleanPhotograph(str(number), pixels, info)


def _of_file(
    name: str, path: Path, camera: str | None = None, iso: int | None = None
) -> CleanPhotograph | InputError:
    try:
        return CleanPhotograph(name, path, probe(path), camera, iso)
    except InputError as error:
        return error
