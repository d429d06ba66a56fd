"""What a dataset is a function of: the resolved configuration and its record beside the data."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2

from noisegen import __version__
from noisegen.downscaling import downscaled_size
from noisegen.errors import InputError, UsageError
from noisegen.images import probe
from noisegen.manifest import BadRow, Manifest
from noisegen.native import kernels_on
from noisegen.photographs import get_photograph
from noisegen.png import png_encoder
from noisegen.synthesis.choices import LAYOUTS
from noisegen.synthesis.layout import SUMMARY_FILES, DatasetFolder
from noisegen.tiles import Tile, tile_grid

__all__ = [
    "BuildConfig",
    "adopt_run",
    "check_run",
    "choose_rows_per_shard",
    "differences",
    "fingerprint",
    "host_record",
    "installed_versions",
    "stored_rows_per_shard",
    "writer_versions",
]

# of the dataset's files; raised when their meaning changes
FORMAT_VERSION = 1
OUTPUT_NAMES = (
    *("shards", "hdf5", "lq.lmdb", "gt.lmdb", "splits", "index"),
    *sorted({side for sides in LAYOUTS.values() for side in sides}),
    *SUMMARY_FILES,
)
TILES_PER_SHARD = 1000
# how many rows are looked at, at most, to find the size of a usual photograph, and how many sizes are enough
PROBED_ROWS, PROBED_SIZES = 64, 16


@dataclass(frozen=True)
class BuildConfig:
    """The resolved configuration: every setting that some byte of the dataset depends on.

    Attributes:
        format, layout, png_level: see `noisegen.synthesis.choices.OutputChoice`.
        tile_size: side of a tile in pixels.
        variants: noisy versions of each photograph.
        seed: of all randomness.
        camera, iso: instead of the manifest's, for every row; None keeps the manifest's.
        limit: number of manifest rows used; None means all.
        rows_per_shard: manifest rows in a shard.
        max_pixels: larger photographs are refused.
        allow_outside: whether rows may point outside the photographs' folder.
        device: "cpu" or "cuda".
        precision: "float32", "bfloat16" or "float16".
        license: of the dataset, for its card.
        strength: of the noise, 1 for the model's own.
        conditions: from which camera and ISO are drawn, as `noisegen.condition_draw.ConditionDraw.to_dict` gives it;
            None draws uniformly from what the model knows.
        downscale: photographs are made smaller by this factor first.
        overlap: pixels that neighbouring tiles share.
        halo: pixels around a tile that the model sees too.
        min_sharpness, max_flat, max_saturated: limits for clean tiles, see `noisegen.synthesis.selection`.
        split: share of the photographs in each split of the dataset, by name; None for no splits.
    """

    format: str
    layout: str | None
    png_level: str | None
    tile_size: int
    variants: int
    seed: int
    camera: str | None
    iso: int | None
    limit: int | None
    rows_per_shard: int
    max_pixels: int
    allow_outside: bool
    device: str
    precision: str
    license: str
    strength: float = 1.0
    conditions: dict[str, Any] | None = None
    downscale: float = 1.0
    overlap: int = 0
    halo: int = 0
    min_sharpness: float | None = None
    max_flat: float | None = None
    max_saturated: float | None = None
    split: dict[str, float] | None = None

    def __post_init__(self) -> None:
        for name in ("tile_size", "variants", "rows_per_shard", "max_pixels"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"the seed must lie between 0 and {2**63 - 1}, not {self.seed}")
        if self.limit is not None and self.limit < 0:
            raise UsageError(f"limit must not be negative, but is {self.limit}")
        if not self.license.strip() or len(self.license.splitlines()) != 1:
            raise UsageError(f"the license must be one line of text, not {self.license!r}")
        if not 0 < self.strength < math.inf:
            raise UsageError(f"strength must be a positive number, not {self.strength}")
        if not 1 <= self.downscale < math.inf:
            raise UsageError(
                f"downscale must be 1 or more, not {self.downscale}; photographs are not enlarged"
            )
        if not 0 <= self.overlap < self.tile_size:
            raise UsageError(
                f"overlap must be at least 0 and less than the tile size of {self.tile_size}, not {self.overlap}"
            )
        if self.halo < 0:
            raise UsageError(f"halo must not be negative, but is {self.halo}")
        if self.min_sharpness is not None and not 0 <= self.min_sharpness < math.inf:
            raise UsageError(f"min-sharpness must not be negative, but is {self.min_sharpness}")
        for name in ("max_flat", "max_saturated"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise UsageError(f"{name.replace('_', '-')} is a share between 0 and 1, not {share}")

    def tiles_of(self, height: int, width: int) -> list[Tile]:
        """The tiles of a photograph of this size, in pixels of the downscaled one.

        Raises:
            InputError: ``smaller_than_tile``.
        """
        try:
            return tile_grid(*downscaled_size(height, width, self.downscale), self.tile_size, self.overlap)
        except InputError as error:
            if self.downscale == 1:
                raise
            raise InputError(error.reason, f"downscaled by {self.downscale:g}: {error}") from error


def choose_rows_per_shard(manifest: Manifest, config: BuildConfig) -> int:
    """The manifest rows that give around a thousand tiles, judged by the first readable photographs."""
    counts: list[int] = []
    for row in manifest.rows(0, min(PROBED_ROWS, manifest.num_rows)):
        if isinstance(row, BadRow):
            continue
        try:
            photograph = get_photograph(row.path, config.max_pixels)
            info = probe(photograph, max_pixels=config.max_pixels)
            counts.append(len(config.tiles_of(info.height, info.width)))
        except InputError:
            continue
        if len(counts) == PROBED_SIZES:
            break
    mean = sum(counts) / len(counts) if counts else 1.0
    return max(1, round(TILES_PER_SHARD / (mean * config.variants)))


def fingerprint(
    config: BuildConfig,
    manifest: Manifest,
    checkpoint: str,
    licence: str,
    noisy_pool: Mapping[str, object] | None,
    *,
    bit_depth: int,
    channels: int,
) -> dict[str, Any]:
    """Everything the dataset's bytes depend on; what runs with the same fingerprint write is the same.

    Args:
        config: the resolved configuration.
        manifest: the list of photographs.
        checkpoint: SHA-256 of the noise model's file.
        licence: of the data that the noise model was trained on, for the dataset's card.
        noisy_pool: of its references, see `noisegen.noisy_pool.NoisyPool.record`; None where it draws without.
        bit_depth, channels: of its pictures, kept for those who read the dataset.
    """
    rows = manifest.num_rows if config.limit is None else min(config.limit, manifest.num_rows)
    return {
        "command": "build-dataset",
        "format_version": FORMAT_VERSION,
        "config": asdict(config),
        "rows": rows,
        "manifest_sha256": manifest.sha256,
        "checkpoint_sha256": checkpoint,
        "checkpoint_licence": licence,
        "noisy_pool": noisy_pool,
        "bit_depth": bit_depth,
        "channels": channels,
        "versions": installed_versions(config.format, config.device),
    }


def installed_versions(format: str, device: str) -> dict[str, str]:
    """Of the packages that the bytes of a build depend on, and whose kernels make the noise."""
    return {**writer_versions(format), **_versions("torch", "pillow"), "kernels": kernels_on(device)}


def writer_versions(format: str) -> dict[str, str]:
    """Of the packages that the bytes of the pictures' files depend on."""
    own = {"noisegen": __version__, "opencv": cv2.__version__, "png_encoder": png_encoder()}
    extra = {"hdf5": ("h5py",), "lmdb": ("lmdb",)}
    return {**own, **_versions("numpy", "pyarrow", *extra.get(format, ()))}


def _versions(*names: str) -> dict[str, str]:
    return {name: metadata.version(name) for name in names}


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The entries that differ, as ``key: old -> new``, sorted by key."""
    lines: list[str] = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {json.dumps(before)} -> {json.dumps(after)}")
    return lines


def adopt_run(folder: DatasetFolder, run: Mapping[str, Any]) -> None:
    """Writes run.json into a new dataset, or makes sure that an existing one is of the same run.

    A run.json that has been damaged since is written again where its hash shows that the run is the same.

    Raises:
        UsageError: the folder holds another run's data, or data of unknown origin under the names used here.
    """
    if folder.run_file.exists():
        if not folder.began_with(run):
            check_run(folder, run)
        if not (folder.began_with(run) and folder.run_is_whole()):
            folder.write_run(run)
        return
    strange = [name for name in OUTPUT_NAMES if folder.holds(name)]
    if strange:
        raise UsageError(
            f"{folder.place} already holds {', '.join(strange)} but no run.json, so it is no dataset of "
            "noisegen; give a new folder"
        )
    folder.write_run(run)


def check_run(folder: DatasetFolder, run: Mapping[str, Any]) -> None:
    """Makes sure that a dataset that has been begun is of the same run.

    Raises:
        UsageError: it is not; all differences are shown.
    """
    stored = folder.read_run()
    if stored.get("command") != run["command"]:
        raise UsageError(
            f"{folder.place} was made by noisegen {stored.get('command')}, which only the same command can "
            f"continue; give another folder to {run['command']}"
        )
    changes = differences(stored, run)
    if changes:
        raise UsageError(
            f"{folder.place} was built with other settings; use them again or another folder: "
            + "; ".join(changes)
        )


def stored_rows_per_shard(folder: DatasetFolder) -> int | None:
    """The size of the shards of a dataset that has been begun; None where its run.json is missing or damaged."""
    if not folder.run_file.exists() or not folder.run_is_whole():
        return None
    return int(folder.read_run()["config"]["rows_per_shard"])


def host_record(**settings: object) -> dict[str, object]:
    """Where a build runs and with which settings that change no byte; for people, never compared."""
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "processor": _processor_name(),
        "python": platform.python_version(),
        **settings,
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
