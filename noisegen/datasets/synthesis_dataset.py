"""Noisy/clean pairs made while a denoiser trains, for people's own training loops in PyTorch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from noisegen.condition_draw import ConditionDraw, read_condition_draw
from noisegen.conditions import Condition
from noisegen.datasets.clean_photographs import CleanPhotograph, Photographs, clean_photographs
from noisegen.datasets.crops import Crop, Visits, turned
from noisegen.datasets.noisy_pair import NoisyPair, in_unit, pixel_tensor
from noisegen.datasets.picture_cache import PictureCache
from noisegen.devices import resolve_device
from noisegen.errors import InputError, UsageError
from noisegen.models.pictures import check_picture
from noisegen.models.references import resolve_condition
from noisegen.synthesis.engine import Engine
from noisegen.synthesis.jobs import TileJob
from noisegen.synthesis.randomness import device_randomness, tile_key, tile_places
from noisegen.synthesis.ready_models import ReadyModels
from noisegen.tiles import cut_region

__all__ = ["CleanPatch", "SynthesisDataset"]

# of problems, in a message
LISTED = 20


class CleanPatch(NamedTuple):
    """A clean patch and all that its noise is a function of, for `SynthesisDataset.draw`.

    Attributes:
        region: uint8 or uint16 [C, h, w], the patch with its surroundings.
        inner: int64 [2], the patch's first row and column in it.
        place: int64 [4], what the random numbers are drawn by.
        camera, iso, key: see `NoisyPair`.
    """

    region: Tensor
    inner: Tensor
    place: Tensor
    camera: str
    iso: int
    key: str


class SynthesisDataset(Dataset[NoisyPair]):
    """Random patches of clean photographs with fresh noise, by index.

    An item is a function of its index, the seed and the epoch, whatever process asks for it and however many there
    are. Call `set_epoch` before each epoch; without, all epochs have the same patches with the same noise. A patch has
    the noise that its place would have in the whole photograph. Photographs that cannot be used are left out.

    Noise is drawn where items are made: in the workers of a DataLoader, each on one core. To draw it on a GPU, load
    `clean_patches` and give each batch to `draw`.

    >>> import numpy as np
    >>> import noisegen
    >>> photographs = [np.full((120, 160, 3), level, np.uint8) for level in (60, 120)]
    >>> given = [noisegen.Condition("S6", 800)]
    >>> data = noisegen.SynthesisDataset(photographs, patch=64, conditions=given)
    >>> pair = data[0]
    >>> pair.noisy.shape, pair.camera, pair.iso
    (torch.Size([3, 64, 64]), 'S6', 800)
    >>> bool((data[0].noisy == pair.noisy).all())
    True
    >>> data.set_epoch(1)
    >>> bool((data[0].noisy == pair.noisy).all())
    False

    Args:
        clean: folder or manifest (.parquet) of photographs, or a list of files or of arrays, uint8 or uint16 [H, W, 3]
            RGB, or [H, W] or [H, W, 1] grey.
        patch: side of the random squares that are cut out, in pixels.
        model: "default" (comes with the package) or a .safetensors checkpoint.
        conditions: cameras with ISO settings that are drawn equally often, or a YAML file that says how often (see
            ``docs/dataset.md``), for what a manifest does not state; None for all that the model knows, or that the
            pool has.
        noisy_pool: table of real pairs for a model that takes references, see ``docs/dataset.md``.
        strength: of the noise; 1 is the camera's own.
        crops: items of each photograph in an epoch.
        augment: also flip and turn photographs at random, one of eight orientations, before they get noise.
        raw: uint8 or uint16 pixel values instead of float32 from 0 to 1.
        seed: of everything random, 0 or more.
        halo: pixels around a patch that the model sees too.
        cache_bytes: of decoded photographs that each process keeps.
        max_failures: photographs that may be left out.

    Attributes:
        left_out: what was left out and why.

    Raises:
        UsageError: model, table, conditions or a number cannot be used, there are no photographs, or too many were left
            out. From an item: the photograph is damaged.
    """

    def __init__(
        self,
        clean: Photographs,
        *,
        patch: int,
        model: str | Path = "default",
        conditions: Sequence[Condition] | str | Path | None = None,
        noisy_pool: str | Path | None = None,
        strength: float = 1.0,
        crops: int = 1,
        augment: bool = False,
        raw: bool = False,
        seed: int = 0,
        halo: int = 8,
        cache_bytes: int = 1 << 30,
        max_failures: int = 100,
    ) -> None:
        if patch < 1 or halo < 0 or not 0 < strength < math.inf:
            raise UsageError(
                f"patch {patch} must be 1 or more, halo {halo} 0 or more, strength {strength} positive"
            )
        self._patch, self._strength, self._halo = patch, strength, halo
        self._augment, self._raw = augment, raw
        self._models = ReadyModels.open(model, noisy_pool)
        self._distribution = self._drawn_from(conditions)
        self._photographs, self.left_out = self._usable(clean, max_failures)
        self._visits = Visits(len(self._photographs), crops=crops, seed=seed)
        self._cache: PictureCache[tuple[np.ndarray]] = PictureCache(cache_bytes)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch, from 0: what patches there are, of what condition, and their noise."""
        self._visits.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._visits)

    def __getitem__(self, index: int) -> NoisyPair:
        photograph, job = self._job(index)
        engine = Engine(self._models.on("cpu"), halo=self._halo, strength=self._strength)
        with _one_thread():
            (noisy,) = engine.run([job])
        noisy_side, clean_side = (self._scaled(pixel_tensor(side)) for side in (noisy, job.tile))
        condition = job.condition
        return NoisyPair(noisy_side, clean_side, condition.camera, condition.iso, photograph.id)

    def clean_patches(self) -> Dataset[CleanPatch]:
        """The same items before they have noise, by index.

        >>> import numpy as np
        >>> import noisegen
        >>> from torch.utils.data import DataLoader
        >>> photograph = np.full((99, 99, 3), 90, np.uint8)
        >>> data = noisegen.SynthesisDataset([photograph], patch=64, crops=4)
        >>> for patches in DataLoader(data.clean_patches(), batch_size=4):
        ...     pairs = data.draw(patches, device="cpu")
        >>> pairs.noisy.shape
        torch.Size([4, 3, 64, 64])
        """
        return _CleanPatches(self)

    @torch.no_grad()
    def draw(self, patches: CleanPatch, *, device: str = "auto") -> NoisyPair:
        """Gives a batch its noise: that of the items themselves, but for rounding of a few values.

        Nobody looks for values that are no numbers, which a model in 16 bits may give: that would stop the device. They
        show in the loss.

        Args:
            patches: a batch of `clean_patches`, as a DataLoader makes it; pinned memory is copied beside other work.
            device: where to draw, and where the pairs will be: "auto", "cpu", "cuda" or "cuda:N".

        Returns:
            noisy and clean [B, C, patch, patch] on the device, the rest as a DataLoader has it.

        Raises:
            UsageError: there is no such device.
        """
        device = resolve_device(device)
        region = patches.region.to(device, non_blocking=True)
        place = patches.place.to(device, non_blocking=True)
        channels, height, width = region.shape[1:]
        settings = zip(patches.camera, torch.as_tensor(patches.iso).tolist(), strict=True)
        noisy = self._models.on(device).sample(
            region.float(),
            [Condition(camera, iso) for camera, iso in settings],
            noise=device_randomness(place, height, width, channels),
            strength=self._strength,
        )
        corners, side = patches.inner.tolist(), self._patch
        noisy, clean = (
            torch.stack([p[:, y : y + side, x : x + side] for p, (y, x) in zip(whole, corners, strict=True)])
            for whole in (noisy, region)
        )
        noisy = noisy.to(clean.dtype) if self._raw else self._scaled(noisy)
        return NoisyPair(noisy, self._scaled(clean), patches.camera, patches.iso, patches.key)

    def _job(self, index: int) -> tuple[CleanPhotograph, TileJob]:
        """The photograph of an item, and its patch as the engine takes it."""
        model, seed = self._models.on("cpu"), self._visits.seed
        number, visit = self._visits.of(index)
        photograph = self._photographs[number]
        (pixels,) = self._cache.get(number, lambda: (photograph.load(model),))
        crop = Crop.draw(pixels, self._patch, augment=self._augment, what=(seed, photograph.id, visit))
        # turned before it gets noise, as a camera sees a scene that is turned
        view = turned(pixels, crop.orientation)
        region = cut_region(
            view, crop.y, crop.x, self._patch, self._patch, halo=self._halo, alignment=model.alignment
        )
        clean, key = np.ascontiguousarray(region.clean), tile_key(seed, photograph.id, visit)
        condition = self._condition(photograph, visit)
        return photograph, TileJob(clean, condition, key, region.y, region.x, region.inner)

    def _condition(self, photograph: CleanPhotograph, visit: int) -> Condition:
        """Camera and ISO of a visit, drawn where the photograph has none."""
        model = self._models.on("cpu")
        what = self._visits.seed, photograph.id, visit, photograph.camera, photograph.iso
        try:
            if self._distribution is None:
                condition = model.vocabulary.draw(*what)
            else:
                condition = self._distribution.draw(model.vocabulary, *what)
            resolve_condition(model, condition)
        except InputError as error:
            raise UsageError(f"photograph {photograph.id}: {error}") from error
        return condition

    def _drawn_from(self, conditions: Sequence[Condition] | str | Path | None) -> ConditionDraw | None:
        model = self._models.on("cpu")
        if isinstance(conditions, str | Path):
            return read_condition_draw(Path(conditions), model.vocabulary)
        if conditions is None:
            pool = self._models.pool
            return None if pool is None else ConditionDraw.uniform(pool.conditions)
        if not conditions:
            raise UsageError("conditions is an empty list; leave it out for all that the model knows")
        try:
            for condition in conditions:
                resolve_condition(model, condition)
        except InputError as error:
            raise UsageError(str(error)) from error
        return ConditionDraw.uniform(conditions)

    def _usable(self, clean: Photographs, max_failures: int) -> tuple[list[CleanPhotograph], tuple[str, ...]]:
        """The photographs that can be used, and the problems of the others."""
        usable, problems = [], []
        for found in clean_photographs(clean):
            try:
                usable.append(self._checked(found))
            except InputError as error:
                problems.append(f"{error.reason}: {error}")
        listed = "".join(f"\n  {problem}" for problem in problems[:LISTED])
        if len(problems) > max_failures:
            raise UsageError(
                f"{len(problems)} photographs cannot be used, more than max_failures {max_failures}:{listed}"
            )
        if not usable:
            raise UsageError(f"there are no photographs to give noise to{listed and ':'}{listed}")
        if problems:
            warnings.warn(f"{len(problems)} photographs are left out:{listed}", stacklevel=3)
        return usable, tuple(problems)

    def _checked(self, found: CleanPhotograph | InputError) -> CleanPhotograph:
        """The photograph if it can be used, as far as its header tells.

        Raises:
            InputError: it cannot.
        """
        if isinstance(found, InputError):
            raise found
        model, info = self._models.on("cpu"), found.info
        check_picture(model, np.zeros((1, 1, info.channels), np.uint8 if info.bits == 8 else np.uint16))
        if min(info.height, info.width) < self._patch:
            raise InputError(
                "smaller_than_patch",
                f"photograph {found.id} is {info.width}x{info.height}, smaller than the {self._patch} pixel patch",
            )
        if found.camera is not None and found.iso is not None:
            resolve_condition(model, Condition(found.camera, found.iso))
        else:
            model.vocabulary.candidates(found.camera, found.iso)
        return found

    def _scaled(self, pixels: Tensor) -> Tensor:
        return pixels if self._raw else in_unit(pixels, self._models.on("cpu").bit_depth)


class _CleanPatches(Dataset[CleanPatch]):
    """See `SynthesisDataset.clean_patches`."""

    def __init__(self, data: SynthesisDataset) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> CleanPatch:
        photograph, job = self._data._job(index)
        inner = torch.tensor([side.start for side in job.inner])
        (place,) = tile_places([job.key], [job.y], [job.x])
        condition = job.condition
        return CleanPatch(
            pixel_tensor(job.clean), inner, place, condition.camera, condition.iso, photograph.id
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums of several threads would depend on their number, which is another one in workers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
