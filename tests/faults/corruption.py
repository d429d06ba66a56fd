"""Changes single bytes of finished datasets: `verify` must find each, and a rerun must mend it.

Every kind of file gets its share: shards, index, markers, run.json and its hash, the tables and the contact sheet.

Examples:
  python tests/faults/corruption.py
  python tests/faults/corruption.py --bytes 500 --formats webdataset
"""

from __future__ import annotations

import collections
import random
import tempfile
from pathlib import Path

from scene import FORMATS, arguments_parser, build_here, contents, finish, workplace
from synthesis_fixtures import Workplace

from noisegen.synthesis.verify import verify_dataset


def kind_of(name: str) -> str:
    """Files of one kind stand for each other: by folder and suffixes, or by name for those at the top."""
    path = Path(name)
    numbered = path.name[:1].isdigit()
    return f"{path.parent}/*{''.join(path.suffixes)}" if numbered else name


def corrupt(
    place: Workplace, output: Path, options: tuple[str, ...], count: int, chance: random.Random
) -> tuple[dict[str, int], list[str]]:
    """Changes one byte after the other, each mended before the next; returns counts by kind and violations."""
    assert build_here(place, output, *options) in (0, 3)
    expected = contents(output)
    kinds: dict[str, list[str]] = collections.defaultdict(list)
    for name in expected:
        kinds[kind_of(name)].append(name)
    counts: collections.Counter[str] = collections.Counter()
    violations: list[str] = []
    for number in range(count):
        kind = list(kinds)[number % len(kinds)]
        name = chance.choice([n for n in kinds[kind] if expected[n]] or [""])
        if not name:
            continue
        data = bytearray(expected[name])
        place_of_byte = chance.randrange(len(data))
        data[place_of_byte] ^= chance.randrange(1, 256)
        (output / name).write_bytes(data)
        what = f"{name}, byte {place_of_byte}"
        if not verify_dataset(output, workers=2).problems:
            violations.append(f"{what}: verify did not find it")
        if (code := build_here(place, output, *options)) not in (0, 3):
            violations.append(f"{what}: the rerun ended with {code}")
        if contents(output) != expected:
            violations.append(f"{what}: not mended by a rerun")
            for path, content in expected.items():
                (output / path).write_bytes(content)
        counts[kind] += 1
    if problems := verify_dataset(output, workers=2).problems:
        violations.append(f"in the end: {problems}")
    return dict(counts), violations


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--bytes", type=int, default=100, help="of each format (default 100)")
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    violations: list[str] = []
    counts: dict[str, object] = {"seed": options.seed}
    with workplace(7) as place, tempfile.TemporaryDirectory(dir=place.root) as folder:
        (place.root / "photo3.png").unlink()  # so that there is a failure to be recorded
        for output_format in options.formats:
            chance = random.Random(f"{options.seed}/{output_format}")
            arguments = ("--format", output_format)
            counts[output_format], found = corrupt(
                place, Path(folder) / output_format, arguments, options.bytes, chance
            )
            violations += [f"{output_format}: {violation}" for violation in found]
    finish("corruption", counts, violations)


if __name__ == "__main__":
    main()
