"""SIDD-Medium (Abdelhamed et al. 2018), sRGB: its folders, and the split of its scenes for noise models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from noisegen.datasets.layouts import FolderProblem, PairFiles
from noisegen.errors import UsageError
from noisegen.suggestions import did_you_mean_path

__all__ = ["TEST_INSTANCES", "TRAINING_INSTANCES", "find_sidd_pairs", "split_of"]

# The split of sRGBFlow, which NM-FlowGAN uses, by scene instance.
# fmt: off
TRAINING_INSTANCES = frozenset([
    4, 11, 13, 17, 18, 20, 22, 23, 25, 27, 28, 29, 30, 34, 35, 39, 40, 42, 43, 44, 45, 47, 81, 86, 88, 90, 101,
    102, 104, 105, 110, 111, 115, 116, 125, 126, 127, 129, 132, 135, 138, 140, 175, 177, 178, 179, 180, 181,
    185, 186, 189, 192, 193, 194, 196, 197,
])
TEST_INSTANCES = frozenset([
    54, 55, 57, 59, 60, 62, 63, 66, 150, 151, 152, 154, 155, 159, 160, 161, 163, 164, 165, 166, 198, 199,
])
# fmt: on
PHONES = ("GP", "IP", "S6", "N6", "G4")

# instance, scene, phone, ISO, shutter, colour temperature, brightness: 0001_001_S6_00100_00060_3200_L
FOLDER = re.compile(
    rf"(?P<instance>\d{{4}})_(?P<scene>\d{{3}})_(?P<phone>{'|'.join(PHONES)})_(?P<iso>\d{{5}})"
    r"_\d{5}_\d{4}_[LNH]"
)
NOISY_FILE = re.compile(r"(?P<prefix>\d{4})_NOISY_SRGB_(?P<number>\d{3})\.PNG", re.IGNORECASE)
CLEAN_FILE = re.compile(r"\d{4}_GT_SRGB_\d{3}\.PNG", re.IGNORECASE)


def split_of(instance: int) -> str:
    """ "train", "val" (the split's test instances) or "" for an instance in neither list."""
    if instance in TRAINING_INSTANCES:
        return "train"
    return "val" if instance in TEST_INSTANCES else ""


def find_sidd_pairs(folder: Path) -> Iterator[PairFiles | FolderProblem]:
    """The pairs of SIDD-Medium sRGB, by instance and number.

    Camera and ISO are those of the folder names, whatever the ISO: some are none of the paper's five.

    Args:
        folder: holds ``Data``, or is it.

    Raises:
        UsageError: it is no folder or holds no folders.
    """
    root = folder / "Data" if (folder / "Data").is_dir() else folder
    if not root.is_dir():
        raise UsageError(
            f"{folder}: no such folder; give the one that holds SIDD's Data folder{did_you_mean_path(folder)}"
        )
    instances = sorted(child for child in root.iterdir() if child.is_dir() and child.name[0] != ".")
    if not instances:
        raise UsageError(f"{root}: holds no folders; give the one that holds SIDD's Data folder")
    for instance in instances:
        yield from _pairs_of(instance)


def _pairs_of(folder: Path) -> Iterator[PairFiles | FolderProblem]:
    match = FOLDER.fullmatch(folder.name)
    if match is None:
        yield FolderProblem(
            folder,
            "bad_name",
            "not named INSTANCE_SCENE_PHONE_ISO_SHUTTER_TEMPERATURE_L|N|H with a phone of "
            f"{', '.join(PHONES)}, as 0001_001_S6_00100_00060_3200_L; rename or remove it",
        )
        return
    files = {file.name.upper(): file for file in sorted(folder.iterdir()) if file.is_file()}
    found = 0
    for name, file in files.items():
        noisy = NOISY_FILE.fullmatch(name)
        if noisy is not None:
            found += 1
            yield _pair(match, noisy, file, files)
        elif CLEAN_FILE.fullmatch(name) and name.replace("_GT_", "_NOISY_") not in files:
            yield FolderProblem(file, "missing_noisy", f"{name.replace('_GT_', '_NOISY_')} is not there")
    if not found:
        yield FolderProblem(folder, "empty", "holds no INSTANCE_NOISY_SRGB_NUMBER.PNG; unpack it again")


def _pair(
    folder: re.Match[str], noisy: re.Match[str], file: Path, files: dict[str, Path]
) -> PairFiles | FolderProblem:
    instance = folder["instance"]
    if noisy["prefix"] != instance:
        return FolderProblem(
            file, "bad_name", f"begins with {noisy['prefix']} in the folder of instance {instance}"
        )
    clean = file.name.upper().replace("_NOISY_", "_GT_")
    if clean not in files:
        return FolderProblem(file, "missing_clean", f"{clean} is not beside it; unpack the folder again")
    return PairFiles(
        noisy=file,
        clean=files[clean],
        dataset="sidd",
        camera=folder["phone"],
        iso=int(folder["iso"]),
        scene=f"SIDD_{instance}_{folder['scene']}",
        split=split_of(int(instance)),
        name=f"SIDD_{instance}_{noisy['number']}",
    )
