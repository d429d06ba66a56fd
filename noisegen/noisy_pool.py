"""A pool of noisy pictures for models that take references: read from a table of real pairs, and described.

What a model wants to know of the pictures is a few numbers each, so a dataset keeps them (``state/noisy_pool.json``),
and whoever works on it later needs the pictures no more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import xxhash

from noisegen.conditions import Condition
from noisegen.datasets.pairs import Pair, file_sha256, load_pair, read_pairs, relative_paths, splits_of
from noisegen.errors import InputError, UsageError
from noisegen.models.protocol import NoiseModel, ReferencedModel
from noisegen.models.references import (
    REFERENCE_SIDE,
    ReferencePool,
    WithPool,
    describe_picture,
    reference_crop,
)
from noisegen.remote import as_place, download_all, local_copy, parent_url
from noisegen.stores import RemoteError
from noisegen.synthesis.threads import usable_cores, worker_threads

__all__ = [
    "NoisyPool",
    "needs_references",
    "read_pool",
    "table_sha256",
    "takes_references",
    "with_pool",
]

TRAIN = "train"


@dataclass(frozen=True)
class NoisyPool:
    """A model's descriptions of the noisy pictures of a table.

    Attributes:
        table_sha256: of the table of pairs.
        pictures_xxh3: of the parts of the pictures that were described, with their cameras and ISO settings.
        checkpoint_sha256: of the model.
        side: of the described square, in pixels.
        described: of each picture, in the table's order.
    """

    table_sha256: str
    pictures_xxh3: str
    checkpoint_sha256: str
    side: int
    described: tuple[tuple[Condition, tuple[float, ...]], ...]

    def record(self) -> dict[str, object]:
        """What identifies the pool: the descriptions are a function of it and of the model.

        They are not part of it, as another processor may round their last bits otherwise.
        """
        return {
            "table_sha256": self.table_sha256,
            "pictures": len(self.described),
            "pictures_xxh3": self.pictures_xxh3,
            "side": self.side,
        }

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Cameras and ISO settings of the pictures, each once, sorted."""
        return tuple(sorted({condition for condition, _ in self.described}))

    @property
    def references(self) -> ReferencePool:
        """As `noisegen.models.references.WithPool` takes it."""
        return ReferencePool.of((condition, torch.tensor(numbers)) for condition, numbers in self.described)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self.record() | {
            "checkpoint_sha256": self.checkpoint_sha256,
            "described": [[c.camera, c.iso, list(numbers)] for c, numbers in self.described],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NoisyPool:
        """What `to_dict` gave.

        Raises:
            UsageError: it is something else.
        """
        try:
            return cls(
                values["table_sha256"],
                values["pictures_xxh3"],
                values["checkpoint_sha256"],
                values["side"],
                tuple(
                    (Condition(camera, iso), tuple(map(float, numbers)))
                    for camera, iso, numbers in values["described"]
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"the descriptions of a pool of noisy pictures are damaged: {error!r}"
            ) from error

    def serves(self, table: Path, checkpoint_sha256: str) -> bool:
        """Whether these are the descriptions that `read_pool` would give of the table's pictures."""
        return (self.table_sha256, self.checkpoint_sha256, self.side) == (
            table_sha256(table),
            checkpoint_sha256,
            REFERENCE_SIDE,
        )


def takes_references(model: NoiseModel, pool: object, *, option: str = "--noisy-pool") -> bool:
    """Whether to give a model a pool.

    Args:
        model: of any type.
        pool: what was given as one; None where nothing was.
        option: the pool's name, for messages.

    Raises:
        UsageError: the model needs a pool and there is none, or takes none and there is one.
    """
    if not isinstance(model, ReferencedModel):
        if pool is not None:
            raise UsageError(
                f"the noise model takes no references from noisy pictures; leave {option} out, or give a model that "
                "does"
            )
        return False
    if model.needs_reference and pool is None:
        raise UsageError(
            "the noise model learns from noisy pictures what noise to make; give a table of real pairs, with "
            f"cameras and ISO settings, as {option}"
        )
    return pool is not None


def needs_references(model: NoiseModel) -> bool:
    """Whether the model draws no noise without references."""
    return isinstance(model, ReferencedModel) and model.needs_reference


def with_pool(model: NoiseModel, pool: NoisyPool | None) -> NoiseModel:
    """The model as a plain noise model that draws with references from the pool; without a pool as it is."""
    if pool is None:
        return model
    assert isinstance(model, ReferencedModel)
    return WithPool(model, pool.references)


def read_pool(
    place: str | Path, model: NoiseModel, checkpoint_sha256: str, *, split: str | None = None
) -> NoisyPool:
    """Describes the noisy pictures of a table of real pairs (see `noisegen.datasets.pairs`) that the model covers.

    Args:
        place: path or URL of the table. With a URL the pictures lie where it says, too, and are copied for the while.
        model: one that takes references, on the CPU, so that the descriptions are the same whatever it runs on.
        checkpoint_sha256: of the model.
        split: whose rows; None for "train" where the table marks it, else all; "" for all.

    Raises:
        UsageError: the table or a picture of it cannot be used, or the model covers none.
    """
    assert isinstance(model, ReferencedModel)
    with _pairs_at_hand(place) as table:
        if split is None and TRAIN in splits_of(table):
            split = TRAIN
        pairs = read_pairs(table, split=split or None)
        covered = [pair for pair in pairs if _covers(model, pair.condition)]
        if not covered:
            raise UsageError(
                f"{place}: the noise model covers camera and ISO of none of these {len(pairs)} pairs; its cameras: "
                + ", ".join(model.vocabulary.cameras)
            )
        hasher = xxhash.xxh3_128()
        described = []
        for pair, (numbers, pixels) in zip(covered, _describe(model, covered, str(place)), strict=True):
            hasher.update(f"{pair.condition.camera}\0{pair.condition.iso}\0{pixels}\0".encode())
            described.append((pair.condition, numbers))
        sha256 = table_sha256(table)
    return NoisyPool(sha256, hasher.hexdigest(), checkpoint_sha256, REFERENCE_SIDE, tuple(described))


def _describe(
    model: ReferencedModel, pairs: Sequence[Pair], where: str
) -> Iterator[tuple[tuple[float, ...], str]]:
    """The description of each pair's noisy picture, and the hash of what was described; several pairs at once."""
    threads = torch.get_num_threads()
    try:
        # one thread of PyTorch for each picture: with several, sums depend on their number
        one = partial(torch.set_num_threads, 1)
        with worker_threads(min(usable_cores(), len(pairs)), "describer", one) as pool:
            yield from pool.map(partial(_described, model, where), pairs)
    finally:
        torch.set_num_threads(threads)


def table_sha256(table: Path) -> str:
    """SHA-256 of a table's bytes, hexadecimal.

    Raises:
        UsageError: there is no such file.
    """
    try:
        return file_sha256(table)
    except OSError as error:
        raise UsageError(
            f"{table}: {error.strerror}; give a table of real pairs as pool of noisy pictures"
        ) from error


def _described(model: ReferencedModel, where: str, pair: Pair) -> tuple[tuple[float, ...], str]:
    try:
        noisy, clean = load_pair(pair)
        numbers = describe_picture(model, noisy, clean, pair.condition)
    except InputError as error:
        raise UsageError(f"{where}: pair {pair.name} cannot be a reference: {error}") from error
    hasher = xxhash.xxh3_128()
    for side in (noisy, clean):
        part = reference_crop(side, model.alignment)
        hasher.update(f"{part.shape} {part.dtype}".encode())
        hasher.update(part.tobytes())
    return tuple(numbers.tolist()), hasher.hexdigest()


def _covers(model: NoiseModel, condition: Condition) -> bool:
    try:
        model.vocabulary.resolve(condition)
    except InputError:
        return False
    return True


@contextmanager
def _pairs_at_hand(place: str | Path) -> Iterator[Path]:
    """A table whose pictures can be read; of one at a URL a copy, with those of its pictures that lie below it."""
    place = as_place(place)
    if isinstance(place, Path):
        yield place
        return
    with local_copy(place) as table, tempfile.TemporaryDirectory(prefix="noisegen-") as folder:
        names = relative_paths(table)
        if outside := [name for name in names if ".." in PurePosixPath(name).parts]:
            raise UsageError(f"{place}: {outside[0]} leads out of the table's folder, which a URL cannot do")
        try:
            download_all(parent_url(place), Path(folder), names)
        except RemoteError as error:
            raise UsageError(str(error)) from error
        copy = Path(folder) / table.name
        copy.write_bytes(table.read_bytes())
        yield copy
