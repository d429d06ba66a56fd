"""Runs a noise model over tiles so that the result depends on nothing but the tile itself."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import cv2
import numpy as np
import torch

from noisegen.conditions import Condition
from noisegen.models.pictures import check_picture
from noisegen.models.protocol import BatchedModel, NoiseModel
from noisegen.synthesis.cuda_engine import CudaEngine, tiles_at_once
from noisegen.synthesis.jobs import TileJob, no_numbers
from noisegen.synthesis.randomness import batch_randomness, tile_key
from noisegen.synthesis.threads import usable_cores, worker_threads
from noisegen.tiles import cut_region, tile_grid

__all__ = [
    "Engine",
    "TileJob",
    "keep_freed_memory",
    "synthesize",
    "tile_threads",
]


class Engine:
    """A noise model on a CPU, or on one or several CUDA devices. `run` may be called from several threads at once.

    On a CPU each tile is computed by one thread (call it from `tile_threads`) and alone, unless the model is a
    `BatchedModel`, because elsewhere the batch and the number of threads change the order of sums and so the
    last bits. Cores are used by running several tiles side by side. On CUDA tiles go in batches of one size,
    see `noisegen.synthesis.cuda_engine`.

    Args:
        model: a noise model that is already on ``device``.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        further: the same model on further CUDA devices, which share the work.
        halo: pixels around a tile that the model sees too, see `noisegen.tiles.cut_region`.
        strength: of the noise, see `noisegen.models.protocol.NoiseModel.sample`.
    """

    def __init__(
        self,
        model: NoiseModel,
        *,
        device: str = "cpu",
        further: Mapping[str, NoiseModel] | None = None,
        halo: int = 0,
        strength: float = 1.0,
    ) -> None:
        self.model = model
        self.halo = halo
        self.strength = strength
        self.device = torch.device(device)
        self._cuda: CudaEngine | None = None
        if self.device.type == "cuda":
            models = {device: model, **(further or {})}
            self._cuda = CudaEngine({torch.device(name): each for name, each in models.items()}, strength)

    def tiles_at_once(self, tile_size: int) -> int:
        """How many tiles are computed together; `run` is best given a multiple of it."""
        if self._cuda is not None:
            return tiles_at_once(tile_size, tile_size)
        side = tile_size + 2 * self.halo
        return self.model.pictures_at_once(side, side) if isinstance(self.model, BatchedModel) else 1

    def job(
        self, picture: np.ndarray, y: int, x: int, height: int, width: int, condition: Condition, key: int
    ) -> TileJob:
        """The tile of a photograph [H, W, C] at (y, x), with its halo."""
        region = cut_region(picture, y, x, height, width, halo=self.halo, alignment=self.model.alignment)
        return TileJob(region.clean, condition, key, region.y, region.x, region.inner)

    def run(self, jobs: Sequence[TileJob]) -> list[np.ndarray]:
        """The noisy tiles, with the order, shape and type of the clean ones, which share one size."""
        if self._cuda is not None:
            return self._cuda.run(jobs)
        step = self.tiles_at_once(jobs[0].tile.shape[0]) if jobs else 1
        groups = [jobs[start : start + step] for start in range(0, len(jobs), step)]
        return [noisy for group in groups for noisy in self._sample(group)]

    def _sample(self, jobs: Sequence[TileJob]) -> list[np.ndarray]:
        height, width, channels = jobs[0].clean.shape
        with torch.inference_mode():
            noise = batch_randomness(
                [job.key for job in jobs],
                [job.y for job in jobs],
                [job.x for job in jobs],
                height,
                width,
                channels,
            )
            noisy = self.model.sample(
                _planes([job.clean for job in jobs]),
                [job.condition for job in jobs],
                noise=noise,
                strength=self.strength,
            )
            if noisy.isnan().any():
                raise no_numbers()
            return [
                _picture(planes, job.clean.dtype)[job.inner] for planes, job in zip(noisy, jobs, strict=True)
            ]


def _planes(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """[h, w, C] each as float32 [B, C, h, w]; OpenCV takes channels apart faster than a transposed copy does."""
    height, width, channels = pictures[0].shape
    planes = np.empty((len(pictures), channels, height, width), np.float32)
    for index, picture in enumerate(pictures):
        for channel, plane in enumerate(cv2.split(picture)):
            planes[index, channel] = plane
    return torch.from_numpy(planes)


def _picture(planes: torch.Tensor, dtype: np.dtype) -> np.ndarray:
    """Whole values [C, h, w] as [h, w, C]."""
    values = planes.numpy().astype(dtype)
    return values[0][..., None] if len(values) == 1 else cv2.merge(list(values))


def synthesize(
    model: NoiseModel,
    clean: np.ndarray,
    condition: Condition,
    *,
    seed: int,
    image_id: str,
    variant: int = 0,
    tile_size: int = 256,
    halo: int = 0,
    strength: float = 1.0,
    device: str = "cpu",
    window: tuple[slice, slice] | None = None,
) -> np.ndarray:
    """Makes the noisy version of a photograph of any size, or of a part of it.

    The photograph is covered with the tiles of `noisegen.tiles.tile_grid`; a side shorter than
    ``tile_size`` is covered by one tile of its own length. Where the last tiles overlap earlier ones, the
    earlier ones' pixels are kept, so every pixel belongs to one tile and equals that tile's pixel in a
    dataset built with the same settings.

    Args:
        model: a noise model on ``device``, as it should be used (see `noisegen.models.prepare_for_synthesis`); one that
            needs references together with them, as a `noisegen.models.references.WithPool`.
        clean: uint8 or uint16 [H, W, C].
        condition: camera and ISO.
        seed, image_id, variant: what the noise is drawn from, with the pixel's position.
        tile_size: side of a tile in pixels.
        halo: pixels around each tile that the model sees too. With 8 the compact model leaves no seams.
        strength: of the noise.
        device: ``"cpu"`` or ``"cuda"``.
        window: rows and columns to make, with the pixels that they have in the whole photograph; None for all.

    Returns:
        The noisy photograph or part of it, with the shape and type of ``clean`` or ``clean[window]``.

    Raises:
        InputError: the photograph's channels or bit depth are not the model's, or it does not cover the
        condition (with a pool of references: ``no_reference`` where it has none for it).
    """
    check_picture(model, clean)
    height, width, _ = clean.shape
    key = tile_key(seed, image_id, variant)
    grid = tile_grid(max(height, tile_size), max(width, tile_size), tile_size)
    engine = Engine(model, device=device, halo=halo, strength=strength)
    rows, columns = min(height, tile_size), min(width, tile_size)
    if window is not None:
        top, bottom, _ = window[0].indices(height)
        left, right, _ = window[1].indices(width)
        grid = [t for t in grid if t.y < bottom and t.y + rows > top and t.x < right and t.x + columns > left]
    jobs = [engine.job(clean, t.y, t.x, rows, columns, condition, key) for t in grid]
    step = engine.tiles_at_once(tile_size)
    groups = [jobs[start : start + step] for start in range(0, len(jobs), step)]
    with tile_threads(usable_cores()) as pool:
        tiles = [tile for group in pool.map(engine.run, groups) for tile in group]
    noisy = np.empty_like(clean)
    for t, tile in zip(reversed(grid), reversed(tiles), strict=True):
        noisy[t.y : t.y + rows, t.x : t.x + columns] = tile
    return noisy if window is None else noisy[window]


@contextmanager
def tile_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that may call `Engine.run`: each keeps PyTorch's own work on itself."""
    before = torch.get_num_threads()
    try:
        with worker_threads(count, "maker", partial(torch.set_num_threads, 1)) as pool:
            yield pool
    finally:
        # the count is a setting of each thread, but new threads of the process start with the last one given
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Makes the C library (where it is glibc) keep freed memory for the next tile; holds for the process.

    Activations of tens of megabytes are otherwise handed back to the system after each layer and their
    pages cleared anew for the next: 13 to 18 % of the time of a 64-channel network on 256x256 tiles went
    there.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8
    libc.mallopt(m_trim_threshold, -1)
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_arena_max, 1)
