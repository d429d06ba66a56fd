"""Fits models of the types that need no training, several of them in one pass over the pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

from noisegen.datasets.pairs import Pair, load_pair
from noisegen.errors import InputError, UsageError
from noisegen.images import probe
from noisegen.models.learning import LearnedModel
from noisegen.models.registry import model_type, model_types
from noisegen.models.tone_bins import Picture

__all__ = ["fit_models", "fitted_types", "is_fitted_type", "pictures_of"]


def is_fitted_type(name: str) -> bool:
    """Whether there is a type of noise model of this name that is fitted in one pass over pairs."""
    return name in model_types() and model_type(name).fit is not None


def fitted_types() -> list[str]:
    """The names of all types that are fitted in one pass over pairs."""
    return [name for name in model_types() if is_fitted_type(name)]


def fit_models(
    names: Sequence[str], pairs: Sequence[Pair], bit_depth: int | None = None
) -> dict[str, LearnedModel]:
    """Fits a model of each of the given types, in this order and in one pass over the pairs.

    Each fit runs in a thread of its own; a pair is decoded when all of them have taken the one before the last.

    Args:
        names: each of `fitted_types`.
        pairs: read one at a time; all of one number of channels and bits.
        bit_depth: of the pictures; needed for 16-bit files.

    Raises:
        UsageError: an unknown name, no pairs, unlike pairs, one that cannot be decoded, or a bit depth that is not
            theirs.
    """
    if unknown := [name for name in names if not is_fitted_type(name)]:
        raise UsageError(f"{', '.join(unknown)} cannot be fitted; there are: {', '.join(fitted_types())}")
    if not pairs:
        raise UsageError("there are no pairs to fit a noise model on")
    depth = _depth(pairs[0], bit_depth)
    queues: dict[str, Queue[Picture | None]] = {name: Queue(maxsize=1) for name in names}

    def fitted(name: str) -> LearnedModel:
        fit = model_type(name).fit
        assert fit is not None
        pictures = _until_none(queues[name])
        try:
            return fit(pictures, depth)
        finally:
            # one that failed, or wants no more, must not keep the others waiting
            for _ in pictures:
                pass

    with ThreadPoolExecutor(len(names) or 1) as pool:
        futures = {name: pool.submit(fitted, name) for name in names}
        try:
            for picture in pictures_of(pairs, depth):
                for queue in queues.values():
                    queue.put(picture)
        finally:
            for queue in queues.values():
                queue.put(None)
        return {name: future.result() for name, future in futures.items()}


def pictures_of(pairs: Iterable[Pair], bit_depth: int) -> Iterator[Picture]:
    """(condition, noisy, clean) of each pair.

    Raises:
        UsageError: a pair cannot be decoded, has other channels than those before, or values of more bits.
    """
    channels = None
    for pair in pairs:
        try:
            noisy, clean = load_pair(pair)
        except InputError as error:
            raise UsageError(f"a pair to fit on cannot be read; remove it from the table: {error}") from error
        if channels not in (None, clean.shape[2]):
            raise UsageError(
                f"{pair.clean_path} has {clean.shape[2]} channel(s), unlike the pairs before, which have {channels}; "
                "a noise model is fitted on pairs of one kind"
            )
        channels = clean.shape[2]
        largest = max(int(noisy.max()), int(clean.max()))
        if clean.dtype.itemsize != (1 if bit_depth == 8 else 2) or largest >= 2**bit_depth:
            raise UsageError(
                f"pair {pair.name} is of {8 * clean.dtype.itemsize}-bit files with values up to {largest}, which do "
                f"not fit a bit depth of {bit_depth}"
            )
        yield pair.condition, noisy, clean


def _until_none(queue: Queue[Picture | None]) -> Iterator[Picture]:
    while (picture := queue.get()) is not None:
        yield picture


def _depth(pair: Pair, bit_depth: int | None) -> int:
    """What is stated, or 8 for 8-bit files."""
    if bit_depth is None and probe(pair.clean_path).bits != 8:
        raise UsageError(
            "the pairs are 16-bit files; say how many bits the camera fills by --bit-depth (9 to 16)"
        )
    return bit_depth or 8
