"""Kills builds at random moments and runs them again: the dataset must be that of an undisturbed run.

After the reruns every file is compared byte by byte with an undisturbed run (but the records of time and host and
the lock), no temporary file may stay, and no finished shard may be made twice.

Examples:
  python tests/faults/kill.py
  python tests/faults/kill.py --kills 200 --formats folders --seed 1
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from pathlib import Path

from scene import (
    FORMATS,
    arguments_parser,
    build_here,
    contents,
    finish,
    finished_files,
    forked_build,
    leftovers,
    wait_for,
    workplace,
)
from synthesis_fixtures import Workplace

KILLS_OF_ONE_DATASET = 10


def disturb(
    place: Workplace,
    folder: Path,
    output_format: str,
    kills: int,
    chance: random.Random,
    violations: list[str],
) -> dict[str, int]:
    """Builds datasets under fire until so many builds were killed."""
    options = ("--format", output_format)
    log = folder / "log"
    reference = folder / "whole"
    assert build_here(place, reference, *options) == 0
    expected = contents(reference)
    started = time.monotonic()
    assert wait_for(forked_build(place, folder / "timed", *options, log=log), 600) == 0
    duration = time.monotonic() - started
    counts = {"kills": 0, "datasets": 0, "builds": 0, "shards_found_finished": 0}

    while counts["kills"] < kills:
        output = folder / f"{counts['datasets']}"
        seen: dict[str, tuple[int, int]] = {}
        for attempt in range(KILLS_OF_ONE_DATASET + 1):
            pid = forked_build(place, output, *options, log=log)
            counts["builds"] += 1
            patience = 600 if attempt == KILLS_OF_ONE_DATASET else chance.uniform(0, 1.1 * duration)
            code = wait_for(pid, patience)
            if code is None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                counts["kills"] += 1
            now = finished_files(output)
            again = [name for name, state in seen.items() if now.get(name) != state]
            violations += [f"{output_format}: {name} was finished and made again" for name in again]
            counts["shards_found_finished"] += sum(name.endswith(".done.json") for name in seen)
            seen = now
            if code is not None:
                break
        if code != 0:
            violations.append(f"{output_format}: exit code {code}: {log.read_text()[-500:]}")
        found = contents(output)
        differing = sorted(n for n in set(found) | set(expected) if found.get(n) != expected.get(n))
        violations += [f"{output_format}: {name} differs from an undisturbed run" for name in differing]
        violations += [f"{output_format}: {name} was left behind" for name in leftovers(output)]
        counts["datasets"] += 1
    return counts


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each format (default 50)")
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--photographs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    violations: list[str] = []
    counts: dict[str, object] = {"seed": options.seed}
    with workplace(options.photographs) as place:
        for output_format in options.formats:
            chance = random.Random(f"{options.seed}/{output_format}")
            with tempfile.TemporaryDirectory(dir=place.root) as folder:
                counts[output_format] = disturb(
                    place, Path(folder), output_format, options.kills, chance, violations
                )
    finish("kill", counts, violations)


if __name__ == "__main__":
    main()
