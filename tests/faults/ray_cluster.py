"""Kills processes, nodes and drivers of builds on a Ray cluster at random moments: nothing may be lost.

A cluster of several nodes on this machine makes datasets. At random moments a process that makes shards is killed, a
node is removed without a warning (another one joins), or the driver is killed and started again. Every dataset must be
that of an undisturbed local run, byte by byte; no temporary file may stay; no finished shard may be made twice.

Examples:
  python tests/faults/ray_cluster.py
  python tests/faults/ray_cluster.py --kills 100 --seed 1
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from scene import (
    NODE,
    arguments_parser,
    build_here,
    contents,
    finish,
    finished_files,
    leftovers,
    makers,
    running_cluster,
    workplace,
)
from synthesis_fixtures import Workplace, command

KILLS_OF_ONE_DATASET = 5
OPTIONS = ("--variants", "12", "--rows-per-shard", "1")
PATIENCE = 300.0


def start(cluster: Any, place: Workplace, output: Path, log: Path) -> subprocess.Popen[bytes]:
    ray = ("--executor", "ray", "--ray-address", cluster.address, "--quiet")
    with log.open("ab") as file:
        return subprocess.Popen(command(*place.arguments(output, *OPTIONS, *ray)), stdout=file, stderr=file)


def kill(cluster: Any, driver: subprocess.Popen[bytes], chance: random.Random) -> str | None:
    """What was killed; None where there was nothing of the kind."""
    kind = chance.choice(["process", "node", "driver"])
    if kind == "process":
        if not (found := makers(cluster)):
            return None
        with suppress(ProcessLookupError):
            os.kill(chance.choice(found), signal.SIGKILL)
    elif kind == "node":
        cluster.remove_node(
            cluster.worker_nodes and chance.choice(list(cluster.worker_nodes)), allow_graceful=False
        )
        cluster.add_node(**NODE)
    else:
        driver.kill()
        driver.wait()
    return kind


def disturb(
    cluster: Any, place: Workplace, output: Path, kills: int, chance: random.Random, violations: list[str]
) -> dict[str, int]:
    """One dataset under fire."""
    log = output.with_suffix(".log")
    counts = {"process": 0, "node": 0, "driver": 0}
    seen: dict[str, tuple[int, int]] = {}
    driver = start(cluster, place, output, log)
    deadline = time.monotonic() + PATIENCE
    while sum(counts.values()) < kills and driver.poll() is None and time.monotonic() < deadline:
        # the next one once something more is finished, at a moment in the middle of what follows
        done = len(finished_files(output))
        while len(finished_files(output)) == done and driver.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 1))
        if driver.poll() is None and (kind := kill(cluster, driver, chance)):
            counts[kind] += 1
            now = finished_files(output)
            violations += [
                f"{name} was finished and made again" for name in seen if now.get(name) != seen[name]
            ]
            seen = now
            if kind == "driver":
                driver = start(cluster, place, output, log)
    try:
        code = driver.wait(max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        driver.kill()
        code = driver.wait()
    if code:
        violations.append(f"{output.name}: exit code {code}: {log.read_text()[-600:]}")
    return counts


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--photographs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    violations: list[str] = []
    counts = {"seed": options.seed, "datasets": 0, "process": 0, "node": 0, "driver": 0}
    chance = random.Random(options.seed)
    with workplace(options.photographs) as place, running_cluster() as cluster:
        assert build_here(place, place.root / "whole", *OPTIONS) == 0
        expected = contents(place.root / "whole")
        with tempfile.TemporaryDirectory(dir=place.root) as folder:
            while (left := options.kills - sum(counts[kind] for kind in ("process", "node", "driver"))) > 0:
                output = Path(folder) / str(counts["datasets"])
                kills = min(left, KILLS_OF_ONE_DATASET)
                for kind, count in disturb(cluster, place, output, kills, chance, violations).items():
                    counts[kind] += count
                counts["datasets"] += 1
                found = contents(output)
                differing = sorted(
                    name for name in {*found, *expected} if found.get(name) != expected.get(name)
                )
                violations += [f"{output.name}: {name} differs from a local run" for name in differing]
                violations += [f"{output.name}: {name} was left behind" for name in leftovers(output)]
    finish("ray_cluster", counts, violations)


if __name__ == "__main__":
    main()
