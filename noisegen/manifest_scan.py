"""Finding the photographs of a folder, with camera and ISO from EXIF, as rows of a manifest."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import pyarrow as pa

from noisegen.errors import InputError, UsageError
from noisegen.images import EncodedPicture, probe, read_exif
from noisegen.manifest import write_manifest
from noisegen.remote import as_place, is_url
from noisegen.suggestions import did_you_mean_path

__all__ = [
    "SUFFIXES",
    "ScanReport",
    "ScannedPhoto",
    "SkippedFile",
    "look_at",
    "make_manifest",
    "resolve_source",
    "scan_folder",
    "wanted",
]

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("camera", pa.string()),
        pa.field("iso", pa.int64()),
        pa.field("id", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
    ]
)
_MAKE, _MODEL, _EXIF_IFD = 0x010F, 0x0110, 0x8769
# the usual tag stops at 65535, which then refers to the ones behind it
_ISO_TAGS = (0x8827, 0x8833, 0x8832, 0x8831)


@dataclass(frozen=True)
class ScannedPhoto:
    """A readable photograph.

    Attributes:
        path: as it goes into the manifest.
        camera, iso: from EXIF; None where absent or not asked for.
        id: the path within the scanned folder, with ``/``: the same wherever the folder lies.
        width, height: in pixels, upright.
    """

    path: str
    camera: str | None
    iso: int | None
    id: str
    width: int
    height: int


@dataclass(frozen=True)
class SkippedFile:
    """A file that looks like a photograph by its name but cannot be used."""

    path: Path | str
    reason: str
    message: str


@dataclass
class ScanReport:
    """Counts of a scan.

    Attributes:
        photographs: rows written.
        cameras: number of photographs by camera, without those that have none.
        with_iso: photographs with an ISO.
        outside: photographs outside the manifest's folder (or at URLs), which a build accepts with ``--root`` only.
        skipped: files left out.
    """

    photographs: int = 0
    cameras: dict[str, int] = field(default_factory=dict)
    with_iso: int = 0
    outside: int = 0
    skipped: list[SkippedFile] = field(default_factory=list)


def resolve_source(source: str) -> Path | str:
    """The folder that `source` names: a path, a URL, or ``pkg:PACKAGE/FOLDER`` inside an installed Python package.

    Raises:
        UsageError: there is no such folder or package.
    """
    if not source.startswith("pkg:"):
        folder = as_place(source)
        if isinstance(folder, Path) and not folder.is_dir():
            raise UsageError(
                f"{source} is not a folder; give the folder that holds the photographs{did_you_mean_path(folder)}"
            )
        return folder
    package, _, inner = source.removeprefix("pkg:").partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"{source}: no Python package {package!r} is installed; install it or give a folder")
    for location in spec.submodule_search_locations:
        if (folder := Path(location) / inner).is_dir():
            return folder
    raise UsageError(f"{source}: package {package!r} has no folder {inner!r}; give one it has, or a path")


def scan_folder(
    folder: Path,
    *,
    base: Path,
    include: Iterable[str] = (),
    conditions: str = "exif",
    camera_map: Mapping[str, str] | None = None,
) -> Iterator[ScannedPhoto | SkippedFile]:
    """Looks at the header of every photograph below a folder, in sorted order.

    Files are chosen by `SUFFIXES`, in any case. Names that begin with a dot are skipped, links to folders not followed.

    Args:
        folder: to be scanned.
        base: the manifest's folder; paths inside it are given relative to it, others absolute.
        include: patterns like ``*.png`` or ``train/*``; a file is taken when its name or its path within `folder`
            matches one of them.
        conditions: ``"exif"`` reads camera and ISO, ``"draw"`` leaves both empty, to be drawn by the build.
        camera_map: from the camera's EXIF name to the name the noise model knows.
    """
    root, home = os.path.realpath(folder), os.path.realpath(base)
    patterns = tuple(include)
    look = partial(look_at, conditions=conditions, camera_map=camera_map or {})
    closed: list[OSError] = []
    for inner in _files(root, closed):
        name = Path(inner).as_posix()
        if not wanted(name, patterns):
            continue
        path = Path(root) / inner
        try:
            name.encode()
            yield look(path, name, _stored(path, home))
        except InputError as error:
            yield SkippedFile(path, error.reason, str(error))
        except UnicodeEncodeError:
            shown = os.fsencode(path).decode("utf-8", "backslashreplace")
            yield SkippedFile(path, "bad_path", f"{shown}: the file's name is not UTF-8; rename it")
    for folder_error in closed:
        where, why = folder_error.filename, folder_error.strerror
        yield SkippedFile(Path(where), "unreadable", f"{where}: {why}; make the folder readable")


def wanted(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file's name, or its path within the scanned folder, matches a pattern; true without patterns."""
    return not patterns or any(fnmatch(name, p) or fnmatch(name.rpartition("/")[2], p) for p in patterns)


def look_at(
    source: Path | EncodedPicture, name: str, stored: str, *, conditions: str, camera_map: Mapping[str, str]
) -> ScannedPhoto:
    """The manifest's row of a photograph.

    Args:
        source: the photograph.
        name: its path within the scanned folder.
        stored: its path as it goes into the manifest.
        conditions, camera_map: see `scan_folder`.

    Raises:
        InputError: as `noisegen.images.probe`.
    """
    info = probe(source)
    camera, iso = _camera_and_iso(source) if conditions == "exif" else (None, None)
    if camera is not None:
        camera = camera_map.get(camera, camera)
    return ScannedPhoto(stored, camera, iso, name, info.width, info.height)


def make_manifest(
    rows: Iterable[ScannedPhoto | SkippedFile],
    out: Path,
    *,
    seen: Callable[[ScannedPhoto | SkippedFile], None] = lambda row: None,
) -> ScanReport:
    """Writes the photographs of a scan into a manifest.

    Args:
        rows: of `scan_folder`, taken one by one.
        out: the manifest.
        seen: called with each row as it comes.

    Returns:
        What was found and left out.

    Raises:
        UsageError: there is no usable photograph, or `out` cannot be written.
    """
    report = ScanReport()

    def photographs() -> Iterator[dict[str, object]]:
        for row in rows:
            seen(row)
            if isinstance(row, SkippedFile):
                report.skipped.append(row)
                continue
            report.photographs += 1
            if row.camera is not None:
                report.cameras[row.camera] = report.cameras.get(row.camera, 0) + 1
            report.with_iso += row.iso is not None
            report.outside += Path(row.path).is_absolute() or is_url(row.path)
            yield asdict(row)
        if report.photographs == 0:
            left_out = (
                f"{len(report.skipped)} left out as unusable" if report.skipped else "no files that match"
            )
            raise UsageError(
                f"no photographs found ({left_out}; looked for {' '.join(SUFFIXES)}); {out} is not written"
            )

    write_manifest(photographs(), out, _SCHEMA)
    return report


def _files(root: str, closed: list[OSError]) -> Iterator[str]:
    """Paths below `root`, relative to it, in an order that does not depend on the file system.

    Folders that cannot be opened are added to `closed`.
    """
    for folder, folders, files in os.walk(root, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield os.path.relpath(Path(folder) / name, root)


def _stored(path: Path, home: str) -> str:
    """The path as the manifest holds it. Links count by where they lead, as the build will judge them."""
    real = Path(os.path.realpath(path))
    return real.relative_to(home).as_posix() if real.is_relative_to(home) else str(real)


def _camera_and_iso(source: Path | EncodedPicture) -> tuple[str | None, int | None]:
    exif = read_exif(source)
    make, model = _text(exif.get(_MAKE)), _text(exif.get(_MODEL))
    camera = model if model.lower().startswith(make.split(" ")[0].lower()) else f"{make} {model}"
    try:
        details = exif.get_ifd(_EXIF_IFD)
    except Exception:  # tags that cannot be parsed say nothing; any type of exception may come out of them
        details = {}
    for tag in _ISO_TAGS:
        value = details.get(tag, exif.get(tag))
        if isinstance(value, tuple | list) and value:
            value = value[0]
        if isinstance(value, int) and 0 < value != 65535:
            return camera.strip() or None, value
    return camera.strip() or None, None


def _text(value: object) -> str:
    """An EXIF text without the padding cameras leave in it."""
    return " ".join("".join(c for c in value if c.isprintable()).split()) if isinstance(value, str) else ""
