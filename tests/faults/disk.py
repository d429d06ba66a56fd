"""Lets builds meet full disks, disks without free file names, limits on file sizes, and what they may not write to.

Each must stop with exit code 1 (2 where nothing could be begun) and one line that names the reason; what is finished
must be whole; and after space is freed the same command must give the dataset of an undisturbed run. The disks are
small tmpfs mounts, and another user's folder is met as nobody, which needs root; without it only the limit on file
sizes is tried.

Examples:
  sudo python tests/faults/disk.py
  python tests/faults/disk.py --formats folders --sizes 5
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scene import FORMATS, arguments_parser, build_here, contents, finish, forked_build, wait_for, workplace
from synthesis_fixtures import Workplace

from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.verify import verify_dataset


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A tmpfs of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Changes a disk's size or whether it can be written."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def limit_file_size(size: int) -> None:
    """As a quota does: larger files cannot be written."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


class Trial:
    """Builds of one format, their reference, and what went wrong."""

    def __init__(self, place: Workplace, output_format: str) -> None:
        self.place, self.options = place, ("--format", output_format)
        whole = place.root / f"whole-{output_format}"
        assert build_here(place, whole, *self.options) == 0
        self.name = output_format
        self.expected = contents(whole)
        self.size = sum(map(len, self.expected.values()))
        self.largest = max(map(len, self.expected.values()))
        self.violations: list[str] = []
        self.stopped = self.resumed = 0

    def run(
        self,
        output: Path,
        what: str,
        reasons: tuple[str, ...],
        codes: tuple[int, ...],
        mend: Callable[[], object],
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        """A build that must stop for one of the reasons; then it is mended and resumed."""
        log = self.place.root / f"log-{self.name}-{what}"
        code = wait_for(forked_build(self.place, output, *self.options, log=log, prepare=prepare), 600)
        text = log.read_text()
        where = f"{self.name}, {what}"
        if code not in codes:
            self.violations.append(f"{where}: exit code {code} instead of {codes}: {text[-500:]}")
        if not any(reason in text for reason in reasons) or "Traceback" in text:
            self.violations.append(f"{where}: the reason is not told: {text[-500:]}")
        self.stopped += 1
        mend()
        problems = verify_dataset(output).problems if DatasetFolder(output).run_file.exists() else {}
        # stopped after the last shard
        if not all("not come to its end" in text for found in problems.values() for text in found):
            self.violations.append(f"{where}: finished shards are damaged: {problems}")
        if (code := build_here(self.place, output, *self.options)) != 0:
            self.violations.append(f"{where}: the rerun ended with {code}")
        if contents(output) != self.expected:
            self.violations.append(f"{where}: differs after it was resumed")
        self.resumed += 1


def closed_folder(trial: Trial) -> None:
    """A folder that belongs to another user, met by a build that does not run as root."""
    closed = trial.place.root / f"closed-{trial.name}"
    closed.mkdir(mode=0o755)
    trial.place.root.chmod(0o755)
    trial.place.model.chmod(0o644)  # safetensors writes files for the owner only
    reasons, nobody = ("Permission denied",), 65534
    trial.run(
        closed / "out",
        "another user's folder",
        reasons,
        (2,),
        lambda: None,
        prepare=lambda: os.setuid(nobody),
    )


def disks(trial: Trial, sizes: int) -> None:
    """Disks that are full after different amounts, disks without free names, and a read-only one."""
    root, full = trial.place.root, ("No space left on device", "maybe the disk is full")
    for number in range(1, sizes + 1):
        size = max(4096, trial.size * number // (sizes + 1))
        with disk(root / f"disk-{trial.name}-{number}", f"size={size}") as folder:
            # a disk that takes no folder at all cannot be begun on
            trial.run(
                folder / "out", f"disk of {size} bytes", full, (1, 2), lambda f=folder: remount(f, "size=1g")
            )  # type: ignore[misc]
        names = 4 + number * 3
        with disk(root / f"names-{trial.name}-{number}", f"size=1g,nr_inodes={names}") as folder:
            trial.run(
                folder / "out", f"disk of {names} names", full, (1, 2), lambda f=folder: remount(f, "nr_inodes=9999")  # type: ignore[misc]
            )  # fmt: skip
    with disk(root / f"fixed-{trial.name}", "size=1g") as folder:
        remount(folder, "ro")
        read_only = ("Read-only file system",)
        trial.run(folder / "out", "read-only disk", read_only, (2,), lambda: remount(folder, "rw"))
        remount(folder, "ro")
        if problems := verify_dataset(folder / "out").problems:
            trial.violations.append(f"{trial.name}: verify of a read-only disk: {problems}")
        remount(folder, "rw")
        (folder / "out" / "state" / "000001.done.json").unlink()
        remount(folder, "ro")
        trial.run(folder / "out", "disk read-only later", read_only, (1, 2), lambda: remount(folder, "rw"))


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--sizes", type=int, default=8, help="of disks, for each format (default 8)")
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    options = parser.parse_args()
    violations: list[str] = []
    counts: dict[str, object] = {"mounts": os.geteuid() == 0}
    with workplace(12) as place:
        for output_format in options.formats:
            trial = Trial(place, output_format)
            for part in (0.1, 0.5, 0.9):
                limit = int(trial.largest * part)
                trial.run(
                    place.root / f"limited-{output_format}-{part}",
                    f"files of at most {limit} bytes",
                    # LMDB does not say which of its reasons it was
                    ("File too large", "a file too large"),
                    (1, 2),
                    lambda: None,
                    lambda size=limit: limit_file_size(size),  # type: ignore[misc]
                )
            if os.geteuid() == 0:
                closed_folder(trial)
                disks(trial, options.sizes)
            violations += trial.violations
            counts[output_format] = {"stopped": trial.stopped, "resumed": trial.resumed}
    finish("disk", counts, violations)


if __name__ == "__main__":
    main()
