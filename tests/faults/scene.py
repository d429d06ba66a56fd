"""What the fault scripts share: a small workplace, builds in processes of their own, and a look at what is left."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
from ray_fixtures import NODE, makers, running_cluster
from remote_fixtures import Fault, S3Server, running_server
from synthesis_fixtures import Workplace, contents, make_workplace

from noisegen.cli import main
from noisegen.synthesis.formats import FORMATS
from noisegen.synthesis.layout import DatasetFolder

__all__ = [
    "FORMATS",
    "NODE",
    "Fault",
    "S3Server",
    "arguments_parser",
    "build_here",
    "contents",
    "finish",
    "finished_files",
    "forked_build",
    "leftovers",
    "makers",
    "running_cluster",
    "running_server",
    "wait_for",
    "workplace",
]


def arguments_parser(text: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


@contextmanager
def workplace(photographs: int) -> Iterator[Workplace]:
    """Photographs, manifest and model in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="noisegen-faults-") as folder:
        yield make_workplace(Path(folder), photographs=photographs)


def build_here(place: Workplace, output: Path | str, *options: str) -> int:
    """The exit code of a build in this process; what it reports on stdout is dropped."""
    try:
        with redirect_stdout(io.StringIO()):
            main(place.arguments(output, "--quiet", *options), prog_name="noisegen")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def forked_build(
    place: Workplace,
    output: Path | str,
    *options: str,
    log: Path,
    prepare: Callable[[], object] = lambda: None,
) -> int:
    """Starts a build in a copy of this process, which spares the seconds of its start; returns the process id.

    Args:
        place, output, options: of the build.
        log: gets what it prints.
        prepare: called in the new process first.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        prepare()
        code = build_here(place, output, *options)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def wait_for(pid: int, seconds: float) -> int | None:
    """The exit code of a process (negative: the signal that ended it), or None where it still runs."""
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.002)


def leftovers(output: Path) -> list[str]:
    """Files of a dataset that only an unfinished build may have."""
    found = [path for path in output.rglob("*") if path.name.endswith((".tmp", ".partial"))]
    found += (output / "state" / "tmp").rglob("*")
    return [path.relative_to(output).as_posix() for path in found]


def finished_files(output: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of the marker and every file of each finished shard: they show what is made twice."""
    folder = DatasetFolder(output)
    if not folder.run_file.exists():
        return {}
    names: list[str] = []
    for shard in folder.shards():
        if marker := folder.read_marker(shard):
            names += [folder.marker_file(shard).relative_to(output).as_posix(), *marker.files]
    states = {name: (output / name).stat() for name in names}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}


def finish(script: str, counts: dict[str, object], violations: list[str]) -> None:
    """Prints the counts as one line of JSON and ends with 1 where a promise was broken."""
    for violation in violations[:20]:
        print(violation, file=sys.stderr)
    print(json.dumps({"script": script, **counts, "violations": len(violations)}))
    sys.exit(1 if violations else 0)
