"""Starts two builds into one folder at the same moment: one builds, the other is refused, nothing is damaged.

Examples:
  python tests/faults/two_builds.py
  python tests/faults/two_builds.py --rounds 100
"""

from __future__ import annotations

import collections
import os
import random
import time
from pathlib import Path

from scene import FORMATS, arguments_parser, build_here, contents, finish, forked_build, wait_for, workplace


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="of each format (default 20)")
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    outcomes: collections.Counter[str] = collections.Counter()
    violations: list[str] = []
    with workplace(7) as place:
        for output_format in options.formats:
            arguments = ("--format", output_format)
            assert build_here(place, place.root / f"whole-{output_format}", *arguments) == 0
            expected = contents(place.root / f"whole-{output_format}")
            for number in range(options.rounds):
                output, log = place.root / f"{output_format}-{number}", place.root / "log"
                reader, writer = os.pipe()
                # half of the pairs start together, the others a few milliseconds apart
                delays = (0.0, chance.choice((0.0, chance.uniform(0, 0.02))))

                def wait_for_start(delay: float, reader: int = reader, writer: int = writer) -> None:
                    os.close(writer)
                    os.read(reader, 1)
                    time.sleep(delay)

                pids = [
                    forked_build(
                        place, output, *arguments, log=log, prepare=lambda d=delay: wait_for_start(d)
                    )  # type: ignore[misc]
                    for delay in delays
                ]
                os.close(writer)
                os.close(reader)
                codes = sorted(wait_for(pid, 600) or 0 for pid in pids)
                outcomes[f"exit codes {codes[0]} and {codes[1]}"] += 1
                # two zeros: the second began when the first had ended, and found nothing to do
                if codes not in ([0, 2], [0, 0]):
                    violations.append(f"{output.name}: exit codes {codes}: {Path(log).read_text()[-500:]}")
                if contents(output) != expected:
                    violations.append(f"{output.name}: differs from an undisturbed run")
    finish("two_builds", {"seed": options.seed, "outcomes": dict(outcomes)}, violations)


if __name__ == "__main__":
    main()
