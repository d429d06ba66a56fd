"""What the commands cost on datasets of very many shards: time and memory, by the number of shards.

    python benchmarks/scale.py
    python benchmarks/scale.py --shards 1000 10000 100000 1000000 --folder /data/tmp --json scale.json

Shards of one tile of 16 x 16 pixels are made by the real writer, but without a noise model (the noisy side is the
clean one, brighter) and without waiting for the disk. In datasets of more than --merged shards each has its own marker,
but tars and index tables are hard links to a few. Then each command runs in a process of its own:

- plan: `noisegen plan`, which reads headers and makes tiles for ten seconds;
- status: `noisegen status` of the whole, before its end is written;
- finish: `noisegen build-dataset` where every shard is there: what the last rank does. It looks at every shard, checks
  the ids of the manifest, and writes shards.parquet, failures.jsonl, card and contact sheet;
- rank: `noisegen build-dataset --rank 1 --world-size 64` where nothing is left to do;
- verify: `noisegen verify --rank 0 --world-size N`, of at most --verified shards;
- merge: `noisegen merge` of the dataset and one of as many shards of another seed, up to --merged shards.

Times are of the wall and of the cores; memory is the largest resident set.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from memory import save_model

from noisegen.png import encode_png
from noisegen.synthesis.build import begin, build_dataset, describe
from noisegen.synthesis.files import sealed_json
from noisegen.synthesis.formats import format_named
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.locks import locked
from noisegen.synthesis.rank import Rank
from noisegen.synthesis.records import FinishedTile, TileRecord, noise_std, pixel_hash
from noisegen.synthesis.resolve import resolved_build
from noisegen.synthesis.shards import Shard, tile_key_name
from noisegen.synthesis.stages import StageClock
from noisegen.synthesis.writing import OpenShard

SIDE = 16
MOST_LINKS = 60_000
RANKS = 64


@dataclass(frozen=True)
class Place:
    """Where one size is tried."""

    folder: Path
    shards: int

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.parquet"

    def options(self, seed: int = 0) -> list[str]:
        fixed = {
            "model": self.folder / "model.safetensors",
            "tile-size": SIDE,
            "rows-per-shard": 1,
            "seed": seed,
        }
        return [word for name, value in fixed.items() for word in (f"--{name}", str(value))]


def make_photographs(place: Place) -> np.ndarray:
    """One picture under as many ids as there are to be shards."""
    picture = np.random.default_rng(0).integers(0, 200, (SIDE, SIDE, 3), np.uint8)
    (place.folder / "photo.png").write_bytes(encode_png(picture))
    save_model(place.folder / "model.safetensors", 8)
    ids = [f"photograph {i}" for i in range(place.shards)]
    pq.write_table(pa.table({"path": ["photo.png"] * place.shards, "id": ids}), place.manifest)
    return picture


def make_shards(root: Path, clean: np.ndarray, part: str, shards: Sequence[Shard], seed: int) -> None:
    """Some shards, through the writer of real builds."""
    os.fsync = lambda descriptor: None  # type: ignore[assignment]
    folder = DatasetFolder(root, part=part)
    output_format = format_named("webdataset")
    noisy = clean + np.uint8(1 + seed)
    files = [output_format.encode(picture, "fast") for picture in (noisy, clean)]
    known: dict[str, Any] = {
        "variant": 0,
        "split": "",
        "y": 0,
        "x": 0,
        "tile_size": SIDE,
        "camera": "S6",
        "iso": 100,
        "iso_rule": "known",
        "drawn": True,
        "seed": seed,
        "noise_std": noise_std(noisy, clean),
        "noisy_pixels_xxh3": pixel_hash(noisy),
        "clean_pixels_xxh3": pixel_hash(clean),
        "extra": "{}",
    }
    clock = StageClock(1)
    for shard in shards:
        opened = OpenShard(folder, output_format, shard, clock)
        key = tile_key_name(shard.index, 0, 0, 0)
        opened.add([FinishedTile(*files, TileRecord(key, shard.index, f"photograph {shard.index}", **known))])
        opened.finish()


def link_shards(root: Path, clean: np.ndarray) -> None:
    """All shards, from files of the first."""
    folder = DatasetFolder(root)
    first, *others = folder.shards()
    make_shards(root, clean, "", [first], 0)
    marker = folder.read_marker(first)
    assert marker is not None
    timing = folder.timing_file(first).read_bytes()
    source = first
    for shard in others:
        files = {}
        for name, record in marker.files.items():
            own = name.replace(first.name, shard.name)
            if shard.index % MOST_LINKS:
                os.link(root / name.replace(first.name, source.name), root / own)
            else:
                shutil.copy(root / name, root / own)
            files[own] = record
        source = source if shard.index % MOST_LINKS else shard
        content = replace(marker, shard=shard, files=files).to_dict()
        folder.marker_file(shard).write_bytes(sealed_json(content))
        folder.timing_file(shard).write_bytes(timing)


def make_dataset(
    place: Place, output: Path, clean: np.ndarray, processes: int, seed: int = 0, linked: bool = False
) -> float:
    """A dataset without its end; seconds of a core for each shard."""
    request = inspect.signature(build_dataset).bind(
        place.manifest,
        output,
        model=place.folder / "model.safetensors",
        tile_size=SIDE,
        rows_per_shard=1,
        seed=seed,
    )
    request.apply_defaults()
    folder = DatasetFolder(output)
    with resolved_build(**request.arguments) as resolved, locked(folder):
        begin(folder, partial(describe, resolved, folder, request.arguments))
    started = time.perf_counter()
    if linked:
        link_shards(output, clean)
        return (time.perf_counter() - started) / place.shards
    context = get_context("spawn")
    workers = []
    for number in range(processes):
        rank = Rank(number, processes)
        given = (output, clean, rank.name, rank.share(folder.shards()), seed)
        workers.append(context.Process(target=make_shards, args=given))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return (time.perf_counter() - started) * processes / place.shards


def measured(*arguments: object) -> dict[str, float]:
    """Seconds and MiB of a command in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "noisegen", *map(str, arguments)]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            out.seek(0)
            sys.exit(f"{' '.join(command)}: {out.read().decode()}")
    seconds = time.perf_counter() - started
    cores = usage.ru_utime + usage.ru_stime
    return {
        "seconds": round(seconds, 2),
        "core_seconds": round(cores, 2),
        "mib": round(usage.ru_maxrss / 1024),
    }


def measure(place: Place, options: argparse.Namespace) -> dict[str, Any]:
    clean = make_photographs(place)
    output = place.folder / "dataset"
    row: dict[str, Any] = {"shards": place.shards}
    linked = place.shards > options.merged
    seconds = make_dataset(place, output, clean, options.processes, linked=linked)
    if not linked:
        row["write_ms_of_a_core"] = round(1000 * seconds, 2)
    build = ("build-dataset", place.manifest, "-o", output, *place.options(), "-q")
    parts = math.ceil(place.shards / options.verified)
    commands: dict[str, tuple[object, ...]] = {
        "plan": ("plan", place.manifest, "-o", output, *place.options(), "-q"),
        "status": ("status", output),
        "finish": build,
        "rank": (*build, "--rank", 1, "--world-size", RANKS),
        "verify": ("verify", output, "--remake", 0, "--rank", 0, "--world-size", parts),
    }
    for name in options.commands:
        row[name] = measured(*commands[name])
    row["verified"] = len(Rank(0, parts).share(DatasetFolder(output).shards()))
    if place.shards <= options.merged:
        other = place.folder / "other"
        make_dataset(place, other, clean, options.processes, seed=1)
        measured("build-dataset", place.manifest, "-o", other, *place.options(seed=1), "-q")
        row["merge"] = measured(
            "merge", output, other, "-o", place.folder / "merged", "--rows-per-shard", 1000, "-q"
        )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--folder", type=Path, help="where datasets are made; 28 kB of disk for each shard")
    parser.add_argument("--commands", nargs="+", default=["plan", "status", "finish", "rank", "verify"])
    parser.add_argument("--verified", type=int, default=20_000)
    parser.add_argument("--merged", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for shards in options.shards:
        folder = Path(tempfile.mkdtemp(prefix="noisegen-scale-", dir=options.folder))
        try:
            rows.append(measure(Place(folder, shards), options))
        finally:
            shutil.rmtree(folder)
        print(json.dumps(rows[-1]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
