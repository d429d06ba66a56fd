"""Measures the peak of memory of builds: it must not grow with the manifest's rows or the number of shards.

Rows: manifests whose photographs do not exist, so that each row becomes a recorded failure. Shards: tiny photographs,
in one shard or in a hundred. Peaks are compared within ten per cent.

Examples:
  python tests/faults/memory.py
  python tests/faults/memory.py --rows 1000 30000 --shards 1 20
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from scene import arguments_parser, finish, workplace
from synthesis_fixtures import Workplace, command, photograph, save_photograph

ALLOWED_GROWTH = 1.10
TILES_OF_THE_SHARD_CASE = 400


def absent_photographs(path: Path, rows: int) -> None:
    """Writes a manifest of rows that all fail, a group at a time."""
    schema = pa.schema([("path", pa.string()), ("id", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 10_000):
            names = [hashlib.md5(b"%d" % i).hexdigest() for i in range(start, min(start + 10_000, rows))]
            writer.write_table(pa.table([[f"{n}.png" for n in names], names], schema=schema))


def peak_of_build(place: Workplace, manifest: Path, output: Path, rows_per_shard: int) -> int:
    """KiB of the largest resident set of a build in a process of its own."""
    arguments = place.arguments(output, "--rows-per-shard", str(rows_per_shard), "--quiet", "--workers", "2")
    arguments[1] = str(manifest)
    program = command(*arguments)
    program[2] = (
        "import sys\nfrom noisegen.cli import main\ntry:\n    main()\nexcept SystemExit:\n"
        "    print('VmHWM', open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    text = subprocess.run(program, check=True, capture_output=True, text=True).stdout
    print(text.splitlines()[0], file=sys.stderr)
    return int(re.findall(r"VmHWM (\d+)", text)[-1])


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=[1000, 1_000_000], metavar=("FEW", "MANY"))
    parser.add_argument("--shards", type=int, nargs=2, default=[1, 100], metavar=("FEW", "MANY"))
    options = parser.parse_args()
    table: list[tuple[str, int, int]] = []
    violations: list[str] = []
    with workplace(1) as place:
        for rows in options.rows:
            manifest = place.root / f"{rows}.parquet"
            absent_photographs(manifest, rows)
            # as many rows as a shard has by default where no photograph can be measured
            table.append(("rows", rows, peak_of_build(place, manifest, place.root / f"r{rows}", 1000)))
        for i in range(TILES_OF_THE_SHARD_CASE):
            save_photograph(place.root / f"tiny{i}.png", photograph(64, 64, seed=i))
        manifest = place.root / "tiny.parquet"
        pq.write_table(pa.table({"path": [f"tiny{i}.png" for i in range(TILES_OF_THE_SHARD_CASE)]}), manifest)
        for shards in options.shards:
            in_each = -(-TILES_OF_THE_SHARD_CASE // shards)
            table.append(
                ("shards", shards, peak_of_build(place, manifest, place.root / f"s{shards}", in_each))
            )
    for (what, few, less), (_, many, more) in zip(table[::2], table[1::2], strict=True):
        if more > ALLOWED_GROWTH * less:
            violations.append(f"{what}: {less} KiB with {few}, {more} KiB with {many}")
    print(f"{'':8} {'number':>9} {'peak MiB':>9}")
    for what, number, peak in table:
        print(f"{what:8} {number:>9} {peak / 1024:>9.1f}")
    finish("memory", {"peak_kib": {f"{number} {what}": peak for what, number, peak in table}}, violations)


if __name__ == "__main__":
    main()
