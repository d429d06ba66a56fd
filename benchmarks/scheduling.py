"""What it costs to share shards out: over threads of one process, over ranks, over the processes of a Ray cluster.

    python benchmarks/scheduling.py
    python benchmarks/scheduling.py --contestants ray --workers 1 2 4 8 --shards 400

The engine is replaced by one that sleeps, so that a shard takes 100 ms and no core, and workers do not hinder each
other on a machine of few cores; all else is a build. A worker's time counts from its first shard, which leaves out the
start of processes, until its last. ``overhead`` is the share of that time in which workers did not sleep: they waited
for shards, or were kept from them by reading and writing, of which ``ranks`` with one worker shows how much it is where
nothing is shared out. ``idle_at_end`` is the share of the run's time, counted likewise, in which workers had nothing
left to do while others had; ranks have it where they do not start at the same moment.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from memory import save_model, save_photograph

SECONDS, TILE = 0.1, 64


def install() -> None:
    """Has the engine of this process sleep, and every sleep noted in a file."""
    from noisegen.synthesis.engine import Engine
    from noisegen.synthesis.jobs import TileJob

    def sleep(self: Engine, jobs: list[TileJob]) -> list[np.ndarray]:
        started = time.monotonic()
        time.sleep(SECONDS * len(jobs))
        notes = Path(os.environ["SLEEPS"]) / f"{os.getpid()}-{threading.current_thread().name}"
        with notes.open("a") as file:
            file.write(f"{started} {time.monotonic()}\n")
        return [job.tile.copy() for job in jobs]

    Engine.run = sleep  # type: ignore[method-assign, assignment]


def build(place: Path, output: Path, contestant: str, workers: int, rank: int) -> None:
    """What a process of a contestant does."""
    from noisegen.synthesis.build import build_dataset

    options: dict[str, object] = {"workers": workers}
    if contestant == "ranks":
        options = {"workers": 1, "rank": rank, "world_size": workers}
    elif contestant == "ray":
        import ray

        hook = {"worker_process_setup_hook": "scheduling.install"}
        ray.init("local", num_cpus=workers, include_dashboard=False, logging_level="error", runtime_env=hook)
        options = {"workers": 1, "executor": "ray"}
    install()
    build_dataset(
        place / "manifest.parquet",
        output,
        model=place / "model.safetensors",
        tile_size=TILE,
        rows_per_shard=1,
        device="cpu",
        quiet=True,
        **options,  # type: ignore[arg-type]
    )


def measured(place: Path, contestant: str, workers: int, shards: int) -> dict[str, object]:
    """Runs a contestant in processes of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        sleeps = Path(temporary) / "sleeps"
        sleeps.mkdir()
        paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
        environment = os.environ | {"SLEEPS": str(sleeps), "PYTHONPATH": os.pathsep.join(paths)}
        run = [sys.executable, __file__, "--run", str(place), f"{temporary}/out", contestant, str(workers)]
        ranks = range(workers if contestant == "ranks" else 1)
        processes = [subprocess.Popen([*run, str(rank)], env=environment) for rank in ranks]
        if sum(process.wait() for process in processes):
            raise SystemExit(f"{contestant} failed")
        noted = [np.loadtxt(path, ndmin=2) for path in sleeps.iterdir()]
    assert sum(map(len, noted)) == shards and len(noted) <= workers
    end = max(times[:, 1].max() for times in noted)
    offered = sum(end - times[:, 0].min() for times in noted)
    used = sum(times[:, 1].max() - times[:, 0].min() for times in noted)
    asleep = sum(float(np.diff(times).sum()) for times in noted)
    return {
        "contestant": contestant,
        "workers": workers,
        "seconds": round(offered / len(noted), 3),
        "overhead": round(1 - asleep / used, 4),
        "idle_at_end": round(1 - used / offered, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--contestants", nargs="+", default=["local", "ranks", "ray"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--shards", type=int, default=400, help="for each worker")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        save_model(place / "model.safetensors", bit_depth=8)
        save_photograph(place / "photo.png", TILE**2 / 1e6, bits=8)
        for workers in arguments.workers:
            shards = arguments.shards * workers
            ids = [f"{number}" for number in range(shards)]
            pq.write_table(pa.table({"path": ["photo.png"] * shards, "id": ids}), place / "manifest.parquet")
            for contestant in arguments.contestants:
                print(json.dumps(measured(place, contestant, workers, shards)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        place, output, contestant, workers, rank = sys.argv[2:]
        build(Path(place), Path(output), contestant, int(workers), int(rank))
    else:
        main()
