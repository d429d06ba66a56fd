"""Noisy/clean pairs from disk for people's own training loops in PyTorch: built ones and photographed ones alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from noisegen.conditions import Condition
from noisegen.datasets.built import BuiltDataset, run_of_built, splits_of_built
from noisegen.datasets.crops import Crop, Visits
from noisegen.datasets.noisy_pair import NoisyPair, in_unit, pixel_tensor
from noisegen.datasets.pairs import load_pair, read_pairs, splits_of
from noisegen.datasets.picture_cache import PictureCache
from noisegen.errors import InputError, UsageError
from noisegen.images import probe
from noisegen.remote import as_place
from noisegen.suggestions import did_you_mean

__all__ = ["NoisyPairs"]

TRAIN = "train"
Sides = tuple[np.ndarray, np.ndarray]


class NoisyPairs(Dataset[NoisyPair]):
    """The tiles of a built dataset, in any format, or the pairs of a table of real ones, by index.

    An item is a function of its index, the seed and the epoch, whatever process asks for it, so workers of a
    DataLoader and samplers of any kind may be used. Call `set_epoch` before each epoch for new crops. Datasets too
    large for random access, or behind URLs, are for `noisegen.TileStream`.

    >>> import tempfile
    >>> import pyarrow as pa, pyarrow.parquet as pq, skimage
    >>> import noisegen
    >>> folder = tempfile.TemporaryDirectory()
    >>> manifest, dataset = f"{folder.name}/manifest.parquet", f"{folder.name}/dataset"
    >>> photograph = f"{skimage.data_dir}/astronaut.png"
    >>> pq.write_table(pa.table({"path": [photograph], "camera": ["S6"], "iso": [800]}), manifest)
    >>> summary = noisegen.build_dataset(manifest, dataset, allow_outside=True, quiet=True)
    >>> pairs = noisegen.NoisyPairs(dataset, patch=64)
    >>> len(pairs), pairs[0].noisy.shape, pairs[0].iso
    (4, torch.Size([3, 64, 64]), 800)
    >>> folder.cleanup()

    Args:
        place: folder of a finished dataset, or a table of pairs (.csv or .parquet), see ``docs/pairs.md``.
        split: that is wanted; None for "train" where the place marks it, else all; "" for all.
        patch: side of the random squares that are cut out, in pixels; None for whole pictures.
        crops: items of each picture in an epoch.
        augment: also flip and turn pictures at random, one of eight orientations.
        transform: called with (noisy, clean) of each item, and gives what takes their place.
        raw: uint8 or uint16 pixel values instead of float32 from 0 to 1: a quarter or half of the bytes on the way to
            a GPU.
        seed: of crops and orientations, 0 or more.
        bit_depth: of a table's 16-bit files, where cameras fill fewer bits; it decides what 1 is.
        cache_bytes: of decoded pictures that each process keeps; worth while for large pictures.

    Raises:
        UsageError: there is no dataset or table, it is not finished or has bad rows, it has no such split, or a picture
            is smaller than the patch. From an item: it cannot be read.
    """

    def __init__(
        self,
        place: str | Path,
        *,
        split: str | None = None,
        patch: int | None = None,
        crops: int = 1,
        augment: bool = False,
        transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        raw: bool = False,
        seed: int = 0,
        bit_depth: int | None = None,
        cache_bytes: int = 0,
    ) -> None:
        if patch is not None and patch < 1:
            raise UsageError(f"patch {patch} must be 1 or more")
        self._source = _opened(as_place(place), split, patch or 1, bit_depth)
        self._patch, self._augment, self._transform, self._raw = patch, augment, transform, raw
        self._visits = Visits(len(self._source), crops=crops, seed=seed)
        self._cache: PictureCache[Sides] = PictureCache(cache_bytes)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch, from 0: what squares are cut out, and how they are turned."""
        self._visits.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._visits)

    def __getitem__(self, index: int) -> NoisyPair:
        number, visit = self._visits.of(index)
        key, condition = self._source.name(number)
        sides = self._cache.get(number, lambda: self._source.load(number))
        crop = Crop.draw(sides[0], self._patch, augment=self._augment, what=(self._visits.seed, key, visit))
        noisy, clean = (pixel_tensor(crop.of(side)) for side in sides)
        if not self._raw:
            depth = self._source.bit_depth(noisy)
            noisy, clean = in_unit(noisy, depth), in_unit(clean, depth)
        if self._transform is not None:
            noisy, clean = self._transform(noisy, clean)
        return NoisyPair(noisy, clean, condition.camera, condition.iso, key)


class _Source(Protocol):
    """Pairs by number."""

    def __len__(self) -> int: ...

    def name(self, number: int) -> tuple[str, Condition]: ...

    def load(self, number: int) -> Sides:
        """(noisy, clean), each uint8 or uint16 [H, W, C].

        Raises:
            UsageError: they cannot be read.
        """
        ...

    def bit_depth(self, pixels: Tensor) -> int: ...


class _Tiles:
    """Those of a built dataset."""

    def __init__(self, root: Path, split: str | None, patch: int, bit_depth: int | None) -> None:
        split = _known(root, split, splits_of_built(root))
        side = int(run_of_built(root)["config"]["tile_size"])
        if patch > side:
            raise _too_small(f"{root}: a tile", side, side, patch)
        self._built = BuiltDataset.open(root, split)
        if bit_depth not in (None, self._built.bit_depth):
            raise UsageError(
                f"{root} says itself that it has {self._built.bit_depth} bits; leave bit_depth out"
            )

    def __len__(self) -> int:
        return len(self._built.tiles)

    def name(self, number: int) -> tuple[str, Condition]:
        return self._built.tiles[number]

    def load(self, number: int) -> Sides:
        return self._built.load(self._built.tiles[number][0])

    def bit_depth(self, pixels: Tensor) -> int:
        return self._built.bit_depth


class _Photographs:
    """Those of a table of real pairs."""

    def __init__(self, table: Path, split: str | None, patch: int, bit_depth: int | None) -> None:
        if bit_depth is not None and not 8 <= bit_depth <= 16:
            raise UsageError(f"bit_depth must be 8 to 16, not {bit_depth}")
        split = _known(table, split, splits_of(table))
        self._table, self._bit_depth = table, bit_depth
        self._pairs = read_pairs(table, split=split)
        for pair in self._pairs:
            info = probe(pair.clean_path)
            if patch > min(info.width, info.height):
                raise _too_small(f"{table}: pair {pair.name}", info.width, info.height, patch)

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, number: int) -> tuple[str, Condition]:
        return self._pairs[number].name, self._pairs[number].condition

    def load(self, number: int) -> Sides:
        try:
            return load_pair(self._pairs[number])
        except InputError as error:
            raise UsageError(f"{self._table}: pair {self._pairs[number].name}: {error}") from error

    def bit_depth(self, pixels: Tensor) -> int:
        return 8 if pixels.element_size() == 1 else self._bit_depth or 16


def _opened(place: Path | str, split: str | None, patch: int, bit_depth: int | None) -> _Source:
    if isinstance(place, str):
        raise UsageError(f"{place}: random access is for local files; read a URL by noisegen.TileStream")
    if not place.exists():
        raise UsageError(
            f"{place}: no such file or folder; give the folder of a built dataset, or a table of pairs"
        )
    return (_Tiles if place.is_dir() else _Photographs)(place, split, patch, bit_depth)


def _known(place: Path, split: str | None, splits: Iterable[str]) -> str | None:
    """The split to take; None for all pairs."""
    there = sorted(splits)
    if split is None:
        return TRAIN if TRAIN in there else None
    if split and split not in there:
        hint = did_you_mean(split, there) or ";"
        raise UsageError(f"{place} has no split {split!r}{hint} it has: {', '.join(there) or 'none'}")
    return split or None


def _too_small(name: str, width: int, height: int, patch: int) -> UsageError:
    return UsageError(
        f"{name} is {width}x{height}, smaller than the {patch} pixel patch; choose a smaller patch"
    )
