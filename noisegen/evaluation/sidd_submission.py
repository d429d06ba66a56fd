"""Files to hand in to the SIDD benchmark, whose clean blocks are secret: the CSV of today and the legacy .mat."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisegen.datasets.benchmarks import Benchmark
from noisegen.denoising.inference import Denoiser
from noisegen.errors import InputError, UsageError
from noisegen.evaluation.denoising_eval import check_picture
from noisegen.synthesis.files import temporary_name

__all__ = ["Submission", "write_submission"]

CSV = "SubmitSrgb.csv"
MAT = "SubmitSrgb.mat"


@dataclass(frozen=True)
class Submission:
    """What was written.

    Attributes:
        files: names in the folder.
        seconds_per_megapixel: of the denoiser, without reading and writing; it stands in the .mat.
    """

    files: tuple[str, ...]
    seconds_per_megapixel: float


def write_submission(
    folder: Path,
    benchmark: Benchmark,
    denoiser: Denoiser,
    *,
    method: str,
    advance: Callable[[int], object] = lambda pixels: None,
) -> Submission:
    """Denoises all blocks and writes ``SubmitSrgb.csv`` and ``SubmitSrgb.mat``, both or none.

    The CSV has the columns ID (scene x blocks per scene + block) and BLOCK (base64 of the uint8 [H, W, 3] in C order).
    The .mat, of version 5, has ``DenoisedBlocksSrgb`` (a cell for each scene and block), ``TimeMPSrgb`` (seconds per
    megapixel) and ``OptionalData`` (the method's name).

    Args:
        folder: is there.
        benchmark: with a `submission`.
        denoiser: for RGB of 8 bits.
        method: its name.
        advance: told the number of pixels that were denoised, after each block.

    Raises:
        InputError: a block cannot be read; a submission with holes is worth nothing, so none is written.
        UsageError: the files cannot be written.
    """
    from scipy.io import savemat

    if benchmark.submission is None:
        raise ValueError(f"{benchmark.name} has clean blocks; nothing is handed in")
    blocks = np.empty(len(benchmark.cases), object)
    seconds, pixels = 0.0, 0
    csv_file, mat_file = temporary_name(folder / CSV), temporary_name(folder / MAT)
    try:
        with csv_file.open("w", encoding="ascii", newline="") as file:
            file.write("ID,BLOCK\n")
            for number, case in enumerate(benchmark.cases):
                noisy, _ = case.read()
                check_picture(noisy, denoiser)
                start = time.perf_counter()
                blocks[number] = np.ascontiguousarray(denoiser.denoise(noisy))
                seconds += time.perf_counter() - start
                pixels += noisy.shape[0] * noisy.shape[1]
                file.write(f"{number},{base64.b64encode(blocks[number]).decode('ascii')}\n")
                advance(noisy.shape[0] * noisy.shape[1])
        pace = seconds / (pixels / 1e6)
        with mat_file.open("wb") as file_of_mat:
            savemat(
                file_of_mat,
                {
                    "DenoisedBlocksSrgb": blocks.reshape(benchmark.submission.grid),
                    "TimeMPSrgb": pace,
                    "OptionalData": {"MethodName": method},
                },
            )
        for written, name in ((csv_file, CSV), (mat_file, MAT)):
            written.replace(folder / name)
    except OSError as error:
        raise UsageError(f"{folder}: the submission cannot be written: {error.strerror}") from error
    except InputError as error:
        raise InputError(error.reason, f"{benchmark.name}: no submission written: {error}") from error
    finally:
        for file_left in (csv_file, mat_file):
            file_left.unlink(missing_ok=True)
    return Submission((CSV, MAT), pace)
