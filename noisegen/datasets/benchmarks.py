"""What a denoiser can be scored on, recognised by what it is: SIDD and SIDD+ blocks, tables of pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from noisegen.conditions import Condition
from noisegen.datasets import sidd_blocks
from noisegen.datasets.mat_files import MatArray, mat_variables
from noisegen.datasets.pairs import Pair, load_pair, read_rows, splits_of
from noisegen.datasets.sidd_blocks import BlockLayout, PngBlocks, condition_of_scene, open_blocks
from noisegen.errors import UsageError
from noisegen.suggestions import did_you_mean_path

__all__ = ["HALVES", "TABLES", "Benchmark", "Case", "open_benchmark", "open_benchmarks"]

TABLES = (".csv", ".parquet", ".pq")
HALVES = ("first", "second")
ACCEPTED = (
    "give a table of pairs (.csv, .parquet), a .mat file of SIDD or SIDD+ with noisy sRGB blocks, or the folder "
    "that holds it"
)

Blocks = MatArray | PngBlocks


@dataclass(frozen=True)
class Case:
    """One picture or block to denoise.

    Attributes:
        group: name under which means are taken: the benchmark, with the dataset where a table names several.
        name: unique within its benchmark.
        condition: camera and ISO, None where they are not known.
        read: returns (noisy, clean), [H, W, C] uint8 or uint16, clean None where it is secret; raises InputError.
    """

    group: str
    name: str
    condition: Condition | None
    read: Callable[[], tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Benchmark:
    """Cases that are scored together.

    Attributes:
        name: "SIDD validation", "SIDD benchmark", "SIDD+" or of the table's file.
        path: what was given.
        cases: in the order of the files.
        problems: pairs of a table that cannot be used, one line each.
        submission: the layout of what is to be handed in, for a benchmark whose clean blocks are secret.
    """

    name: str
    path: Path
    cases: tuple[Case, ...]
    problems: tuple[str, ...] = ()
    submission: BlockLayout | None = None


def open_benchmarks(
    paths: Sequence[Path], *, split: str | None = None, crop: int = 0, half: str | None = None
) -> list[Benchmark]:
    """`open_benchmark` of each, with names that tell them apart.

    Raises:
        UsageError: as `open_benchmark`; one is given twice; `half` without SIDD+.
    """
    found = [
        benchmark for path in paths for benchmark in open_benchmark(path, split=split, crop=crop, half=half)
    ]
    names = Counter(benchmark.name for benchmark in found)
    again = next((benchmark for benchmark in found if names[benchmark.name] > 1), None)
    if again is not None:
        where = " and ".join(str(benchmark.path) for benchmark in found if benchmark.name == again.name)
        raise UsageError(
            f"{where}: both are {again.name}; give or name them so that tables can tell them apart"
        )
    halves = {f"{layout.name} {half} half" for layout in sidd_blocks.LAYOUTS}
    if half is not None and not halves & set(names):
        raise UsageError("--half is for SIDD+, which is not among the benchmarks")
    return found


def open_benchmark(
    path: Path, *, split: str | None = None, crop: int = 0, half: str | None = None
) -> list[Benchmark]:
    """Opens a benchmark; headers are checked, pictures are not read yet.

    Args:
        path: a table of pairs, a ``.mat`` file with a known variable, a folder with such files, or a SIDD+ folder of
            pictures. A folder that holds several gives each.
        split: rows of a table to keep; None for "val" where it occurs, else all; "" for all.
        crop: side of the central square of each picture of a table, 0 for all of it.
        half: of SIDD+, "first" or "second"; None for all. Ignored by the others.

    Raises:
        UsageError: it is nothing of these, or not as it was published.
    """
    if path.is_dir():
        found = [
            _block_benchmark(path, noisy, layout, half)
            for layout in sidd_blocks.LAYOUTS
            for noisy in _noisy_parts(path, layout)
        ]
        if not found:
            names = ", ".join(f"{layout.noisy}.mat" for layout in sidd_blocks.LAYOUTS)
            raise UsageError(f"{path}: the folder holds none of {names}; {ACCEPTED}")
        return found
    if path.suffix.lower() in TABLES:
        return [_table_benchmark(path, split, crop)]
    if path.suffix.lower() != ".mat":
        problem = "not a benchmark" if path.exists() else "no such file"
        raise UsageError(f"{path}: {problem}; {ACCEPTED}{did_you_mean_path(path)}")
    variables = mat_variables(path)
    for layout in sidd_blocks.LAYOUTS:
        if layout.noisy in variables:
            return [_block_benchmark(path, path, layout, half)]
        if layout.clean in variables:
            raise UsageError(
                f"{path}: these are the clean blocks of {layout.name}; give {layout.noisy}.mat, this file beside it"
            )
    known = ", ".join(layout.noisy for layout in sidd_blocks.LAYOUTS)
    there = ", ".join(variables) or "none"
    raise UsageError(f"{path}: no variable of {known}; the file's variables: {there}")


def _noisy_parts(folder: Path, layout: BlockLayout) -> Iterator[Path]:
    """The file or folder of the layout's noisy blocks in a folder, or the folder itself; at most one."""
    file, pictures = folder / f"{layout.noisy}.mat", folder / layout.noisy
    if file.is_file():
        yield file
    elif layout.folders and pictures.is_dir():
        yield pictures
    elif layout.folders and folder.name == layout.noisy:
        yield folder


def _block_benchmark(path: Path, noisy_path: Path, layout: BlockLayout, half: str | None) -> Benchmark:
    noisy = open_blocks(noisy_path, layout.noisy, layout)
    clean = None
    if layout.clean is not None:
        suffix = "" if noisy_path.is_dir() else ".mat"
        clean_path = noisy_path.parent / f"{layout.clean}{suffix}"
        if not clean_path.exists():
            raise UsageError(f"{noisy_path}: its clean blocks, {clean_path.name}, are not beside it")
        clean = open_blocks(clean_path, layout.clean, layout)
    indices = list(product(*map(range, layout.grid)))
    name = layout.name
    if half is not None and layout.folders:
        middle = len(indices) // 2
        indices = indices[:middle] if half == HALVES[0] else indices[middle:]
        name = f"{name} {half} half"
    cases = tuple(_block_case(name, index, layout, noisy, clean) for index in indices)
    return Benchmark(name, path, cases, submission=layout if clean is None else None)


def _block_case(
    group: str, index: tuple[int, ...], layout: BlockLayout, noisy: Blocks, clean: Blocks | None
) -> Case:
    known = len(index) == 2 and index[0] < len(layout.scenes)
    condition = condition_of_scene(layout.scenes[index[0]]) if known else None
    name = f"scene {index[0]} block {index[1]}" if len(index) == 2 else f"{index[0]:04d}"
    return Case(group, name, condition, partial(_read_block, index, noisy, clean))


def _read_block(
    index: tuple[int, ...], noisy: Blocks, clean: Blocks | None
) -> tuple[np.ndarray, np.ndarray | None]:
    return noisy.block(index), None if clean is None else clean.block(index)


def _table_benchmark(table: Path, split: str | None, crop: int) -> Benchmark:
    if split is None:
        split = "val" if "val" in splits_of(table) else ""
    rows = read_rows(table, split=split or None)
    datasets = {row.pair.dataset for row in rows if row.pair}
    cases = []
    for row in rows:
        if row.pair:
            several = len(datasets) > 1 and row.pair.dataset
            group = f"{table.stem}: {row.pair.dataset}" if several else table.stem
            cases.append(Case(group, row.name, row.pair.condition, partial(_read_pair, row.pair, crop)))
    problems = tuple(
        f"{table}: row {row.number}: {problem.message}" for row in rows for problem in row.problems
    )
    return Benchmark(table.stem, table, tuple(cases), problems)


def _read_pair(pair: Pair, crop: int) -> tuple[np.ndarray, np.ndarray]:
    noisy, clean = load_pair(pair)
    if crop == 0:
        return noisy, clean
    height, width = noisy.shape[:2]
    y, x = max(height - crop, 0) // 2, max(width - crop, 0) // 2
    part = np.s_[y : y + crop, x : x + crop]
    return noisy[part], clean[part]
