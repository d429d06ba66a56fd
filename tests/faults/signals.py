"""Sends SIGTERM and SIGINT to builds: each must end within ten seconds with 143 or 130, and be resumable.

Cases: ordinary work at random moments, while one large photograph is decoded, and while a slow model (the paper's
size) works on large tiles.

Examples:
  python tests/faults/signals.py
  python tests/faults/signals.py --moments 20 --cases plain
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from scene import arguments_parser, build_here, contents, finish, leftovers, workplace
from synthesis_fixtures import VOCABULARY, Workplace, command, photograph, save_photograph

from noisegen.models import checkpoint_of_model
from noisegen.models.checkpoint import write_checkpoint
from noisegen.models.nm_flowgan.model import NMFlowGAN
from noisegen.models.nm_flowgan.sizes import PRESETS

LIMIT_SECONDS = 10.0


@dataclass(frozen=True)
class Case:
    """A build to be interrupted.

    Attributes:
        place: photographs and model.
        options: of the command line.
        wait: seconds from the first sign of work to the signal, at least and at most.
        resume: whether the build is short enough to be ended afterwards and compared.
    """

    place: Workplace
    options: tuple[str, ...]
    wait: tuple[float, float]
    resume: bool


def large_photograph(root: Path) -> Case:
    """A progressive JPEG of 144 megapixels, which takes seconds to decode."""
    root.mkdir()
    row = np.tile(photograph(1, 12000), (1, 1, 1))
    Image.fromarray(np.broadcast_to(row, (12000, 12000, 3))).save(root / "large.jpg", progressive=True)
    return _one_photograph(root, "large.jpg", "64")


def slow_model(root: Path) -> Case:
    """Tiles of a megapixel through the largest model: many seconds each."""
    root.mkdir()
    save_photograph(root / "photo.png", photograph(1024, 1024))
    with torch.random.fork_rng():
        model = NMFlowGAN(PRESETS["paper"], VOCABULARY)
    write_checkpoint(root / "model.safetensors", checkpoint_of_model("nm-flowgan", model, {}))
    return _one_photograph(root, "photo.png", "1024")


def _one_photograph(root: Path, name: str, tile_size: str) -> Case:
    pq.write_table(pa.table({"path": [name], "camera": ["S6"], "iso": [100]}), root / "manifest.parquet")
    if not (root / "model.safetensors").exists():
        (root / "model.safetensors").write_bytes((root.parent / "model.safetensors").read_bytes())
    return Case(Workplace(root), ("--tile-size", tile_size), (0.3, 2.0), resume=False)


def interrupt(case: Case, output: Path, number: int, wait: float, violations: list[str]) -> float | None:
    """Starts a build and sends the signal.

    Returns:
        The seconds until it has ended; None where everything was built before the signal came.
    """
    process = subprocess.Popen(
        command(*case.place.arguments(output, "--quiet", *case.options)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (output / "state" / "host.json").exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(wait)
    process.send_signal(number)
    started = time.monotonic()
    _, errors = process.communicate(timeout=600)
    seconds = time.monotonic() - started
    name = signal.Signals(number).name
    if (output / "dataset.json").exists() and process.returncode in (0, -number):
        return None
    if process.returncode != 128 + number:
        violations.append(f"{output.name}: {name}: exit code {process.returncode}: {errors[-500:]}")
    if ("the same command resumes" not in errors) or "Traceback" in errors:
        violations.append(f"{output.name}: {name}: no word of how to go on: {errors[-500:]}")
    if seconds > LIMIT_SECONDS:
        violations.append(f"{output.name}: {name}: ended after {seconds:.1f} s")
    violations += [f"{output.name}: {name}: {left} was left behind" for left in leftovers(output)]
    return seconds


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--moments", type=int, default=5, help="signals of each kind and case (default 5)")
    parser.add_argument(
        "--cases", nargs="+", choices=["plain", "large", "slow"], default=["plain", "large", "slow"]
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    violations: list[str] = []
    slowest: dict[str, float] = {}
    resumed = too_late = 0
    with workplace(24) as place:
        makers = {
            "plain": lambda: Case(place, (), (0.0, 1.0), resume=True),
            "large": lambda: large_photograph(place.root / "large"),
            "slow": lambda: slow_model(place.root / "slow"),
        }
        if "plain" in options.cases:
            assert build_here(place, place.root / "whole") == 0
        for name in options.cases:
            case = makers[name]()
            for number in (signal.SIGTERM, signal.SIGINT):
                for moment in range(options.moments):
                    output = place.root / f"{name}-{number}-{moment}"
                    seconds = interrupt(case, output, number, chance.uniform(*case.wait), violations)
                    too_late += seconds is None
                    slowest[name] = round(max(seconds or 0.0, slowest.get(name, 0.0)), 2)
                    if case.resume:
                        if build_here(place, output) or contents(output) != contents(place.root / "whole"):
                            violations.append(f"{output.name}: differs after it was resumed")
                        resumed += 1
    counts = {"seed": options.seed, "signals": 2 * options.moments * len(options.cases), "too_late": too_late}
    finish("signals", {**counts, "resumed": resumed, "slowest_seconds": slowest}, violations)


if __name__ == "__main__":
    main()
