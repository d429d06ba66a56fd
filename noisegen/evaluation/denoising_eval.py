"""Scores denoisers on benchmarks: every case is read once, and every method is measured on the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from noisegen.datasets.benchmarks import Benchmark, Case
from noisegen.denoising.inference import Denoiser
from noisegen.errors import InputError, UsageError
from noisegen.evaluation.denoising_metrics import SMALLEST_SIDE, SSIM_CONVENTIONS, psnr, ssim

__all__ = [
    "NOISY",
    "CaseScore",
    "DenoisingScores",
    "Score",
    "check_alike",
    "check_picture",
    "evaluate_denoisers",
]

NOISY = "noisy"
# Metrics of one picture that are computed at once; each takes up to 250 bytes a pixel.
METRIC_THREADS = 4


@dataclass(frozen=True)
class Score:
    """How near a picture is to the clean one.

    Attributes:
        psnr: dB; infinite for identical pictures, not a number for a mean over nothing.
        ssim: by convention (`denoising_metrics.SSIM_CONVENTIONS`).
    """

    psnr: float
    ssim: Mapping[str, float]


@dataclass(frozen=True)
class CaseScore:
    """A case and the scores of each method, `NOISY` (the picture as it was) first."""

    case: Case
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class DenoisingScores:
    """All that was measured.

    Attributes:
        methods: `NOISY`, then the denoisers in the order given.
        cases: those that could be scored.
        problems: the others, one line each.
        repetitions: methods that are repetitions of the same, by a name for them; empty where there are none.
    """

    methods: tuple[str, ...]
    cases: tuple[CaseScore, ...]
    problems: tuple[str, ...]
    repetitions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def evaluate_denoisers(
    denoisers: Mapping[str, Denoiser],
    benchmarks: Sequence[Benchmark],
    *,
    advance: Callable[[int], object] = lambda pixels: None,
) -> DenoisingScores:
    """Denoises and scores every case of the benchmarks that have clean pictures.

    Args:
        denoisers: by name, alike in the sense of `check_alike`.
        benchmarks: those with a `submission` are passed over.
        advance: told the number of pixels that were denoised, after each case.

    Raises:
        UsageError: a benchmark's file is damaged as a whole.
    """
    scored: list[CaseScore] = []
    problems: list[str] = []
    with ThreadPoolExecutor(METRIC_THREADS) as pool:
        for benchmark in benchmarks:
            problems += benchmark.problems
            for case in benchmark.cases if benchmark.submission is None else ():
                pixels = 0
                try:
                    noisy, clean = case.read()
                    scored.append(CaseScore(case, _score(noisy, clean, denoisers, pool)))
                    pixels = len(denoisers) * noisy.shape[0] * noisy.shape[1]
                except InputError as error:
                    problems.append(f"{benchmark.name}, {case.name}: {error}")
                advance(pixels)
    return DenoisingScores((NOISY, *denoisers), tuple(scored), tuple(problems))


def check_alike(denoisers: Mapping[str, Denoiser]) -> None:
    """Refuses denoisers that cannot be scored on the same pictures.

    Raises:
        UsageError: their channels or bit depths differ.
    """
    kinds = {
        name: f"{denoiser.channels} channel(s) of {denoiser.bit_depth} bits"
        for name, denoiser in denoisers.items()
    }
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        raise UsageError(f"the denoisers are for different pictures; score them one by one ({listed})")


def check_picture(picture: np.ndarray, denoiser: Denoiser) -> None:
    """Refuses a picture that the denoiser is not for.

    Args:
        picture: [H, W, C] uint8 or uint16.

    Raises:
        InputError: ``wrong_format``, its channels, type or largest value.
    """
    bits = denoiser.bit_depth
    dtype = np.dtype(np.uint8 if bits == 8 else np.uint16)
    wanted = f"the denoiser is for {denoiser.channels} channel(s) of {bits} bits"
    if picture.shape[2] != denoiser.channels or picture.dtype != dtype:
        raise InputError(
            "wrong_format", f"the picture has {picture.shape[2]} channel(s) of {picture.dtype}; {wanted}"
        )
    if int(picture.max()) >= 2**bits:
        raise InputError("wrong_format", f"the picture has values up to {picture.max()}; {wanted}")


def _score(
    noisy: np.ndarray, clean: np.ndarray | None, denoisers: Mapping[str, Denoiser], pool: ThreadPoolExecutor
) -> dict[str, Score]:
    if clean is None:
        raise ValueError("a case without a clean picture cannot be scored")
    if min(noisy.shape[:2]) < SMALLEST_SIDE:
        raise InputError("too_small", f"{noisy.shape[1]}x{noisy.shape[0]}; SSIM needs {SMALLEST_SIDE} pixels")
    first = next(iter(denoisers.values()))
    for picture in (noisy, clean):
        check_picture(picture, first)
    pictures = {NOISY: noisy} | {name: denoiser.denoise(noisy) for name, denoiser in denoisers.items()}
    top = 2**first.bit_depth - 1
    measured = {
        name: [pool.submit(psnr, picture, clean, top)]
        + [pool.submit(ssim, picture, clean, convention, top) for convention in SSIM_CONVENTIONS]
        for name, picture in pictures.items()
    }
    scores = {}
    for name, futures in measured.items():
        level, *similarities = (future.result() for future in futures)
        scores[name] = Score(level, dict(zip(SSIM_CONVENTIONS, similarities, strict=True)))
    return scores
