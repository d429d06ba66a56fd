"""Where a dataset keeps the descriptions of its pool of noisy pictures: ``state/noisy_pool.json``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from noisegen.errors import UsageError
from noisegen.noisy_pool import NoisyPool
from noisegen.remote import as_place, download
from noisegen.stores import RemoteError
from noisegen.synthesis.files import read_sealed_json, write_sealed_json
from noisegen.synthesis.layout import NOISY_POOL, DatasetFolder

__all__ = ["keep_pool", "kept_pool", "stored_pool"]


def keep_pool(folder: DatasetFolder, pool: NoisyPool) -> None:
    """Puts the descriptions into a dataset that has been begun, unless it has them already."""
    try:
        kept = kept_pool(folder)
    except UsageError:
        kept = None
    if kept is None or kept.record() != pool.record():
        write_sealed_json(folder.noisy_pool_file, pool.to_dict())


def kept_pool(folder: DatasetFolder) -> NoisyPool:
    """The descriptions that a dataset keeps.

    Raises:
        UsageError: they are missing or damaged.
    """
    return _read(folder.noisy_pool_file, folder.place)


def stored_pool(place: str | Path) -> NoisyPool | None:
    """`kept_pool` of the dataset at a path or URL; None where there is none, or it cannot be used."""
    place = as_place(place)
    try:
        if isinstance(place, Path):
            return kept_pool(DatasetFolder(place))
        with tempfile.TemporaryDirectory(prefix="noisegen-") as folder:
            path = Path(folder) / NOISY_POOL
            download(f"{place}/state/{NOISY_POOL}", path)
            return _read(path, place)
    except (UsageError, RemoteError):
        return None


def _read(path: Path, place: str) -> NoisyPool:
    advice = "the same build-dataset command writes it anew"
    if not path.is_file():
        raise UsageError(f"{place} does not keep what its pool of noisy pictures showed; {advice}")
    try:
        return NoisyPool.from_dict(read_sealed_json(path))
    except (UsageError, OSError) as error:
        raise UsageError(f"state/{NOISY_POOL} of {place} is damaged; {advice}") from error
