"""Tables of pairs from folders: SIDD-Medium as it is distributed, or two folders with equal file names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from noisegen.errors import UsageError
from noisegen.suggestions import did_you_mean_path

__all__ = ["FolderProblem", "PairFiles", "find_folder_pairs", "pair_record"]

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
# names of the two folders in wide use
NOISY_NAMES = ("noisy", "input", "input_crops", "lq")
CLEAN_NAMES = ("clean", "gt", "target", "gt_crops", "target_crops")


@dataclass(frozen=True)
class PairFiles:
    """A pair that a layout names.

    Attributes:
        noisy, clean: paths as found below the folder that was given.
        dataset, camera, scene, split, name: text for the table; empty where unknown.
        iso: ISO setting.
    """

    noisy: Path
    clean: Path
    dataset: str
    camera: str
    iso: int
    scene: str
    split: str
    name: str


@dataclass(frozen=True)
class FolderProblem:
    """A file or folder that does not fit its layout.

    Attributes:
        path: what does not fit.
        reason: ``bad_name``, ``missing_clean``, ``missing_noisy`` or ``empty``.
        message: what was wrong and what to do.
    """

    path: Path
    reason: str
    message: str


def find_folder_pairs(
    folder: Path, camera: str, iso: int, *, dataset: str = ""
) -> Iterator[PairFiles | FolderProblem]:
    """Pairs of two folders side by side, matched by file name without its suffix, in order of name.

    Args:
        folder: holds a folder ``noisy`` (or ``input``, ``input_crops``, ``lq``) and a folder ``clean`` (or
            ``gt``, ``target``, ``gt_crops``, ``target_crops``).
        camera, iso: of all pairs.
        dataset: name of the source.

    Raises:
        UsageError: there are not exactly one noisy and one clean folder.
    """
    noisy, clean = (_one_of(folder, names) for names in (NOISY_NAMES, CLEAN_NAMES))
    noisy_files, clean_files = (_pictures(side) for side in (noisy, clean))
    for stem in sorted(noisy_files | clean_files):
        sides = noisy_files.get(stem, []), clean_files.get(stem, [])
        twice = next((files for files in sides if len(files) > 1), None)
        if twice:
            yield FolderProblem(twice[1], "bad_name", f"{twice[0].name} has the same name; keep one of them")
        elif not sides[1]:
            yield FolderProblem(sides[0][0], "missing_clean", f"{clean} has no picture of this name; add it")
        elif not sides[0]:
            yield FolderProblem(sides[1][0], "missing_noisy", f"{noisy} has no picture of this name; add it")
        else:
            yield PairFiles(sides[0][0], sides[1][0], dataset, camera, iso, "", "", stem)


def pair_record(pair: PairFiles) -> dict[str, str]:
    """The pair's row for `noisegen.datasets.pairs.write_rows`."""
    return {
        "noisy_path": str(pair.noisy),
        "clean_path": str(pair.clean),
        "dataset": pair.dataset,
        "camera": pair.camera,
        "iso": str(pair.iso),
        "scene": pair.scene,
        "split": pair.split,
        "name": pair.name,
    }


def _one_of(folder: Path, names: tuple[str, ...]) -> Path:
    there = [folder / name for name in names if (folder / name).is_dir()]
    if len(there) != 1:
        found = f"{len(there)} of them" if there else "none"
        raise UsageError(
            f"{folder}: one folder named {', '.join(names)} is needed; there is {found}{did_you_mean_path(folder)}"
        )
    return there[0]


def _pictures(folder: Path) -> dict[str, list[Path]]:
    """The pictures by name without suffix."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
            found.setdefault(file.stem, []).append(file)
    return found
