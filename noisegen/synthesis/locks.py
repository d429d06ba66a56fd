"""Who may write into a dataset: one command alone, or the ranks of one job side by side."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from noisegen.errors import UsageError
from noisegen.progress import say
from noisegen.synthesis.layout import DatasetFolder

__all__ = ["Busy", "is_locked", "locked", "one_at_a_time"]

# `noisegen status` holds the lock for an instant to see whether a build does
PATIENCE_SECONDS = 1.0
# the lock of a rank whose machine has died may stay on a file server for so long
RANK_PATIENCE_SECONDS = 120.0
SILENT_SECONDS = 3.0


class Busy(UsageError):
    """Another command is writing into the dataset."""


@contextmanager
def locked(folder: DatasetFolder, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Makes the folder and keeps others out of it: all of them, or, for a rank, all but ranks of a job of its size.

    Args:
        folder: the dataset; a rank's has the rank's name as its part.
        patience: seconds to wait for others.

    Raises:
        Busy: another command is writing into it.
        UsageError: it cannot be written or locked.
    """
    with ExitStack() as stack:
        try:
            (folder.ranks if folder.shared else folder.state).mkdir(parents=True, exist_ok=True)
            stack.enter_context(_held(folder, folder.state / "lock", patience, exclusive=not folder.shared))
            if folder.shared:
                own = folder.ranks / f"{folder.part}.lock"
                stack.enter_context(_held(folder, own, RANK_PATIENCE_SECONDS))
                _refuse_other_sizes(folder)
        except OSError as error:
            raise UsageError(
                f"cannot write into {folder.root}: {error.strerror}; give a folder that can be written "
                "with -o, or for a URL with --staging"
            ) from error
        yield


@contextmanager
def one_at_a_time(folder: DatasetFolder) -> Iterator[None]:
    """Inside `locked`: the ranks wait here for each other."""
    if not folder.shared:
        yield
        return
    with (folder.ranks / "turn.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_locked(folder: DatasetFolder) -> bool:
    """Whether a command holds it. The lock is taken here for an instant, which a starting command waits out."""
    try:
        with (folder.state / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _refuse_other_sizes(folder: DatasetFolder) -> None:
    """Ranks of two sizes would make the same shards; of two that come at once, one at least sees the other here."""
    size = _size(folder.part)
    for path in folder.ranks.glob("*-of-*.lock"):
        other = _size(path.stem)
        if other == size:
            continue
        with path.open("a") as lock:
            if not _try_lock(folder, lock, fcntl.LOCK_SH):
                raise Busy(
                    f"{other} ranks are writing into {folder.place}; wait for them or end them before {size} go on"
                )


def _size(rank: str) -> str:
    return rank.partition("-of-")[2]


@contextmanager
def _held(folder: DatasetFolder, path: Path, patience: float, *, exclusive: bool = True) -> Iterator[None]:
    with path.open("a") as lock:
        begun = time.monotonic()
        told = False
        who = "another command" if path.stem == "lock" else f"another process of rank {path.stem}"
        while not _try_lock(folder, lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH):
            waited = time.monotonic() - begun
            if waited > patience:
                raise Busy(f"{who} is writing into {folder.place}; wait for it or give another folder")
            if waited > SILENT_SECONDS and not told:
                told = True
                say(
                    f"{who} is writing into {folder.place}, or its machine has died; waiting for {patience:.0f} s"
                )
            time.sleep(0.05)
        yield


def _try_lock(folder: DatasetFolder, lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UsageError(
            f"cannot lock {folder.root}: {error.strerror} (its file system has no flock, so two builds could "
            "not be kept apart); build into a folder on another file system and copy the dataset"
        ) from error
    return True
