"""Kills ranks of a build at random moments and runs them again, in the end as another number of ranks.

Several ranks build one dataset at the same time, in a folder or at an S3 server on loopback that answers some requests
with 500 or 503, late, or not in time. A random rank is killed at a random moment and started again, until so many kills
are done; then all ranks come to their end, now and then as another number of them. The dataset must be that of an
undisturbed local run, byte by byte; no temporary file may stay; no finished shard may be made twice.

Examples:
  python tests/faults/ranks.py
  python tests/faults/ranks.py --kills 200 --places folder --seed 1
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scene import (
    Fault,
    S3Server,
    arguments_parser,
    build_here,
    contents,
    finish,
    finished_files,
    forked_build,
    leftovers,
    running_server,
    wait_for,
    workplace,
)
from synthesis_fixtures import Workplace

KILLS_OF_ONE_DATASET = 5
TRIES = 3
SIZES = (2, 3, 8)
FAULTS = ("500 Internal Server Error", "503 Slow Down", "429 Too Many Requests")


@dataclass
class Output:
    """A dataset in a folder, or below a bucket."""

    folder: Path
    store: S3Server | None = None
    bucket: str = field(default="")

    @property
    def place(self) -> str:
        return f"s3://{self.bucket}/{self.folder.name}" if self.store else str(self.folder)

    def contents(self) -> dict[str, bytes]:
        return self.store.contents(self.bucket, self.folder.name) if self.store else contents(self.folder)

    def finished(self) -> dict[str, tuple[int, int]]:
        """Of a bucket nothing: there, who was killed between upload and marker may upload again."""
        return {} if self.store else finished_files(self.folder)

    def leftovers(self) -> list[str]:
        return [] if self.store else leftovers(self.folder)


@contextmanager
def bad_weather(store: S3Server | None, chance: random.Random) -> Iterator[None]:
    """Every now and then the next few requests of a kind are refused or answered late."""
    if store is None:
        yield
        return
    over = threading.Event()

    def blow() -> None:
        while not over.wait(chance.uniform(0.05, 0.4)):
            method, status = chance.choice(["PUT", "GET", "HEAD"]), chance.choice(FAULTS)
            fault = Fault(method, "", chance.randint(1, 3), status, chance.choice([0, 0, 0.5]))
            store.faults = [fault] if chance.random() < 0.5 else []

    thread = threading.Thread(target=blow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        store.faults = []


def disturb(
    place: Workplace, output: Output, kills: int, seconds: float, chance: random.Random, violations: list[str]
) -> dict[str, int]:
    """One dataset under fire."""
    size = chance.choice(SIZES)
    log = output.folder.with_suffix(".log")

    def start(rank: int, of: int) -> int:
        options = ("--rank", str(rank), "--world-size", str(of), "--workers", "1")
        options += ("--staging", str(output.folder.with_suffix(".staging")))
        return forked_build(place, output.place, *options, log=log)

    counts = {"kills": 0, "ranks": size, "tried_again": 0}
    seen: dict[str, tuple[int, int]] = {}
    running = {rank: start(rank, size) for rank in range(size)}
    with bad_weather(output.store, chance):
        while counts["kills"] < kills and running:
            rank = chance.choice(list(running))
            if wait_for(running[rank], chance.uniform(0, seconds / size)) is None:
                os.kill(running[rank], signal.SIGKILL)
                os.waitpid(running[rank], 0)
                counts["kills"] += 1
                now = output.finished()
                violations += [f"{name} was made again" for name in seen if now.get(name) != seen[name]]
                seen = now
                running[rank] = start(rank, size)
            else:
                del running[rank]
        if other := chance.random() < 0.5:
            for pid in running.values():
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                counts["kills"] += 1
            size = chance.choice([n for n in SIZES if n != size])
        pids = {rank: start(rank, size) for rank in range(size)} if other else running
        codes = {rank: wait_for(pid, 600) for rank, pid in pids.items()}
        # a store that refuses one request seven times in a row ends a rank, which a batch system starts again
        for _ in range(TRIES):
            for rank in [rank for rank, code in codes.items() if code == 1]:
                codes[rank] = wait_for(start(rank, size), 600)
                counts["tried_again"] += 1
    if set(codes.values()) - {0}:
        violations.append(f"{output.place}: exit codes {codes}: {log.read_text()[-600:]}")
    return counts


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each place (default 20)")
    parser.add_argument("--places", nargs="+", choices=["folder", "s3"], default=["folder", "s3"])
    parser.add_argument("--photographs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    violations: list[str] = []
    counts: dict[str, object] = {"seed": options.seed}
    with workplace(options.photographs) as place, running_server() as store:
        assert build_here(place, place.root / "whole") == 0
        started = time.monotonic()
        assert build_here(place, place.root / "timed") == 0
        seconds = time.monotonic() - started
        expected = contents(place.root / "whole")
        for kind in options.places:
            chance = random.Random(f"{options.seed}/{kind}")
            done = {"datasets": 0, "kills": 0, "ranks": 0, "tried_again": 0}
            with tempfile.TemporaryDirectory(dir=place.root) as folder:
                while done["kills"] < options.kills:
                    path = Path(folder) / str(done["datasets"])
                    output = Output(path, store, store.bucket()) if kind == "s3" else Output(path)
                    for name, count in disturb(
                        place, output, KILLS_OF_ONE_DATASET, seconds, chance, violations
                    ).items():
                        done[name] += count
                    done["datasets"] += 1
                    found = output.contents()
                    differing = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
                    violations += [f"{output.place}: {name} differs from one process" for name in differing]
                    violations += [f"{output.place}: {name} was left behind" for name in output.leftovers()]
            counts[kind] = done
    finish("ranks", counts, violations)


if __name__ == "__main__":
    main()
