"""Damages manifests, checkpoints and pictures at random and gives them to their readers, for a stated time.

Each reader must answer with a result or with one of the package's own errors: another exception, a crash of the
process, more than a few seconds of work, hundreds of megabytes of memory, or a picture that contradicts its own
header is a finding, and its file is kept. The cases follow from --seed and their number alone.

Examples:
  python tests/faults/fuzz.py --seconds 60
  python tests/faults/fuzz.py --seconds 3600 --save findings --targets manifest checkpoint
  python tests/faults/fuzz.py --replay findings/picture-123
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))
from fuzz_seeds import SEEDS, mutate

from noisegen.errors import InputError, NoisegenError

# of one case; pictures may have a million pixels here
SLOW_SECONDS, HANGING_SECONDS = 10.0, 120.0
MEMORY_KIB, ADDRESS_SPACE = 400_000, 16 << 30
# Arrow takes a damaged page's word, 32 bits with a sign, for the size of the buffer that it will be read into.
ARROW_PAGE_KIB = 2**31 // 1024
MAX_PIXELS = 1_000_000


def read_picture(path: Path) -> None:
    from noisegen.images import probe, read_exif, read_image, read_metadata

    info = probe(path, max_pixels=MAX_PIXELS)
    read_exif(path)
    read_metadata(path)
    pixels = read_image(path, max_pixels=MAX_PIXELS)
    stated = (info.height, info.width, info.channels)
    assert pixels.shape == stated, f"pixels {pixels.shape}, header {stated}"
    assert pixels.dtype.itemsize * 8 == info.bits and pixels.dtype.kind == "u", pixels.dtype


def read_png(path: Path) -> None:
    from noisegen.png import decode_png

    pixels = decode_png(path.read_bytes())
    assert pixels.ndim == 3 and pixels.shape[2] in (1, 3) and pixels.dtype.kind == "u", pixels.shape


def read_manifest(path: Path) -> None:
    from noisegen.manifest import Manifest

    manifest = Manifest.open(path)
    rows = sum(1 for row in manifest.rows(0, min(manifest.num_rows, 10_000)) if json.dumps(row.id))
    assert rows == min(manifest.num_rows, 10_000), f"{rows} rows of {manifest.num_rows}"


def read_checkpoint(path: Path) -> None:
    from noisegen.denoising import load_denoiser
    from noisegen.models import load_noise_model
    from noisegen.models.checkpoint import read_checkpoint

    load = load_denoiser if read_checkpoint(path).kind == "dncnn" else load_noise_model
    load(path)


def read_pth(path: Path) -> None:
    from noisegen.models.official import import_official

    import_official(path)


READERS = {
    "picture": read_picture,
    "png": read_png,
    "manifest": read_manifest,
    "checkpoint": read_checkpoint,
    "pth": read_pth,
}


def run_case(target: str, path: Path) -> tuple[str, str]:
    """("ok" or the package's own reason, ""), or ("finding", what happened)."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts anew
    before = _memory("VmRSS")
    started = time.process_time()
    try:
        READERS[target](path)
        outcome = ("ok", "")
    except InputError as error:
        outcome = (error.reason, "")
    except NoisegenError as error:
        outcome = (type(error).__name__, "")
    except BaseException:
        return ("finding", traceback.format_exc(limit=-6))
    seconds, growth = time.process_time() - started, _memory("VmHWM") - before
    if seconds > SLOW_SECONDS:
        return ("finding", f"slow: {seconds:.1f} s of work, then {outcome[0]}")
    if growth > MEMORY_KIB + (ARROW_PAGE_KIB if target == "manifest" else 0):
        return ("finding", f"memory: {growth} KiB, then {outcome[0]}")
    return outcome


def serve(connection: Connection) -> None:
    """Runs cases in a process of its own until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders print about damaged files
    while (case := connection.recv()) is not None:
        connection.send(run_case(*case))


class Worker:
    """The process that runs cases, replaced when it dies or hangs."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, target: str, path: Path) -> tuple[str, str]:
        self._connection.send((target, path))
        try:
            if self._connection.poll(HANGING_SECONDS):
                outcome: tuple[str, str] = self._connection.recv()
                return outcome
            what = f"hang: no answer in {HANGING_SECONDS:.0f} s"
        except EOFError:
            self._process.join()
            what = f"crash: exit code {self._process.exitcode}"
        self._process.kill()
        self._process.join()
        self._start()
        return ("finding", what)

    def close(self) -> None:
        self._connection.send(None)
        self._process.join()


def fuzz(targets: list[str], seconds: float, seed: int, save: Path, cases: int | None) -> dict[str, object]:
    """Runs cases until the time is over; returns the counts."""
    seeds = {target: SEEDS[target]() for target in targets}
    outcomes = {target: collections.Counter[str]() for target in targets}
    findings: list[dict[str, object]] = []
    kinds: collections.Counter[str] = collections.Counter()
    worker = Worker()
    started = time.monotonic()
    number = 0
    with tempfile.TemporaryDirectory(prefix="noisegen-fuzz-") as folder:
        path = Path(folder) / "case"
        while time.monotonic() - started < seconds and (cases is None or number < cases):
            target = targets[number % len(targets)]
            data = mutate(target, seeds[target], random.Random(f"{seed}/{number}"))
            path.write_bytes(data)
            outcome, what = worker.run(target, path)
            outcomes[target][outcome] += 1
            if outcome == "finding":
                save.mkdir(parents=True, exist_ok=True)
                kept = save / f"{target}-{number}"
                kept.write_bytes(data)
                kind = f"{target}: {what.strip().splitlines()[-1]}"
                kinds[kind] += 1
                findings.append({"case": number, "file": str(kept), "what": kind})
                if kinds[kind] == 1:
                    print(f"{kept}: {what}", file=sys.stderr, flush=True)
            number += 1
    worker.close()
    return {
        "script": "fuzz",
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        "cases": number,
        "outcomes": {target: dict(counts.most_common()) for target, counts in outcomes.items()},
        "violations": len(findings),
        "findings": findings[:20],
    }


def _memory(name: str) -> int:
    """In KiB."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--cases", type=int, help="stop after this many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument(
        "--save", type=Path, default=Path("findings"), help="folder for files that are findings"
    )
    parser.add_argument("--replay", type=Path, help="run one kept file in this process")
    options = parser.parse_args()
    if options.replay:
        print(*run_case(options.replay.name.split("-")[0], options.replay))
        return
    counts = fuzz(options.targets, options.seconds, options.seed, options.save, options.cases)
    print(json.dumps(counts))
    sys.exit(1 if counts["violations"] else 0)


if __name__ == "__main__":
    main()
