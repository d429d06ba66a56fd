"""Speed of synthesis on a CPU, as ratios to a naive loop measured in the same run.

The naive loop is what one would write first: read the photograph, run the eager float32 paper-size model on one
tile, write both PNG files with cv2.imwrite; all cores by PyTorch's own threads.

    python benchmarks/synthesis.py                            photographs that come with scikit-image
    python benchmarks/synthesis.py --photos FOLDER            your own
    python benchmarks/synthesis.py --report docs/performance  also JSON, and the page's table and plot

Contestants run in turns, `--repeats` times, each in a process of its own, and medians are compared, so that a busy
machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import contestants as run
import torch
from performance_page import Row, machine, table, update_page
from photographs import photographs, write_manifest

from noisegen.devices import synthesis_precision
from noisegen.native import instruction_set
from noisegen.synthesis.threads import usable_cores

NAIVE_MODEL, NAIVE_LOOP = "naive loop, model alone", "naive loop, photographs to PNG files"
ENCODE, CEILING = "encoding alone, both PNG files", "float32 matrix product"


def measure(photos: list[Path], repeats: int, folder: Path) -> dict[str, Any]:
    """Rates of all contestants, what they need, and what the machine is."""
    paper = run.paper_checkpoint(folder)
    many, few = folder / "many.parquet", folder / "few.parquet"
    write_manifest(many, photos * 40)
    write_manifest(few, photos * 2)
    calls: dict[str, Callable[[int], tuple[Any, ...]]] = {
        CEILING: lambda _: (run.matrix_product, 2048),
        NAIVE_MODEL: lambda _: (run.naive_model, paper, 8),
        "model alone, paper size": lambda _: (run.model_alone, paper, 2),
        "model alone, embedded": lambda _: (run.model_alone, "default", 8),
        NAIVE_LOOP: lambda _: (run.naive_loop, paper, photos, 8, folder),
        ENCODE: lambda _: (run.encode_alone, photos, 2000),
        "build-dataset, paper size": lambda n: (run.build, few, paper, folder / f"paper{n}"),
        "build-dataset, embedded": lambda n: (run.build, many, "default", folder / f"embedded{n}"),
    }
    with ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        contestants = {
            title: (stack.enter_context(ProcessPoolExecutor(1, mp_context=context)), call)
            for title, call in calls.items()
        }
        rates, memory = run.in_turns(contestants, repeats)
    return {
        "machine": machine(),
        "cores": usable_cores(),
        "kernels": instruction_set() or "torch",
        "precision": ", ".join(
            f"{name} {synthesis_precision('auto', 'cpu', latent=latent)}"
            for name, latent in (("paper size", False), ("embedded", True))
        ),
        "torch": torch.__version__,
        "rates": rates,
        "peak_bytes": memory,
        "operations_per_pixel": {
            name: run.operations_per_pixel(source)
            for name, source in (("paper size", paper), ("embedded", "default"))
        },
    }


def rows_of(record: dict[str, Any]) -> list[Row]:
    """The table: medians, ratios to the naive loop of the same kind, and shares of what limits each."""
    medians = {title: statistics.median(rates) for title, rates in record["rates"].items()}
    ceiling = medians[CEILING]
    rows = []
    for title, rate in medians.items():
        if title == CEILING:
            continue
        naive = NAIVE_MODEL if "model alone" in title else NAIVE_LOOP
        size = next((name for name in record["operations_per_pixel"] if name in title), "paper size")
        limit = ""
        if title == ENCODE:
            limit = "codec"
        elif title.startswith("build-dataset"):
            slower = min(medians[f"model alone, {size}"], medians[ENCODE])
            limit = f"{rate / slower:.0%} of the slower of model and encoding alone"
        else:
            operations = record["operations_per_pixel"][size] * rate * 1e6
            limit = f"{operations / ceiling:.0%} of the matrix product's {ceiling / 1e9:.0f} GFLOP/s"
        ratio = None if title == ENCODE else rate / medians[naive]
        rows.append(Row(title, rate, ratio, limit, record["peak_bytes"][title]))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="folder of photographs instead of scikit-image's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--report", type=Path, help="folder of cpu.json and cpu.svg, beside which lies the page"
    )
    arguments = parser.parse_args()
    photos = photographs(arguments.photos)
    with tempfile.TemporaryDirectory() as name:
        record = measure(photos, arguments.repeats, Path(name))
    rows = rows_of(record)
    print("\n" + table(rows))
    if arguments.report:
        arguments.report.mkdir(parents=True, exist_ok=True)
        (arguments.report / "cpu.json").write_text(json.dumps(record, indent=1) + "\n")
        update_page(arguments.report, "cpu", rows, record)


if __name__ == "__main__":
    main()
