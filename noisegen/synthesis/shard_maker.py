"""What a process of a cluster does: it loads a build once, and makes the shards that it is given."""

from __future__ import annotations

import itertools
import platform
import threading
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from noisegen.errors import NoisegenError, UsageError
from noisegen.synthesis.build import Description, describe
from noisegen.synthesis.duplicates import RepeatedIds
from noisegen.synthesis.interrupt import StopRequest
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.locks import Busy, locked
from noisegen.synthesis.making import Built, Job, Pending, finished_of, make_pending
from noisegen.synthesis.plan import check_run
from noisegen.synthesis.resolve import ResolvedBuild, resolved_build
from noisegen.synthesis.shards import Shard
from noisegen.synthesis.staging import StagedFolder, dataset_at
from noisegen.synthesis.writing import disk_errors

__all__ = ["Failed", "Made", "Opened", "ShardMaker"]


@dataclass(frozen=True)
class Opened:
    """What a process on a node would build."""

    node: str
    description: Description


@dataclass(frozen=True)
class Made:
    """Shards that are there.

    Attributes:
        built: what came of them.
        seconds: that it took.
    """

    built: Built
    seconds: float


@dataclass(frozen=True)
class Failed:
    """What went wrong on a node.

    Attributes:
        node: its name.
        message: for people.
        usage: whether the request cannot be carried out.
        trace: the traceback of an error that nobody has foreseen.
    """

    node: str
    message: str
    usage: bool = False
    trace: str = ""

    def error(self) -> NoisegenError:
        """As an exception."""
        error = (UsageError if self.usage else NoisegenError)(f"on node {self.node}: {self.message}")
        if self.trace:
            error.add_note(self.trace)
        return error


class ShardMaker:
    """Makes shards of a dataset that others write into as well. `make` may be called from two threads at once.

    Nothing is raised: errors come as values, with the name of the node.

    Args:
        request: the arguments of `noisegen.build_dataset`, with paths that mean the same on every node.
    """

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = request
        self._node = platform.node()
        self._stack = ExitStack()
        self._turn = threading.Lock()
        self._thread = itertools.cycle("01")
        self._resolved: ResolvedBuild | None = None
        self._description: Description | None = None
        self._job: Job | None = None

    def open(self) -> Opened | Failed:
        """Loads photographs' list and model."""
        try:
            self._resolved = self._stack.enter_context(resolved_build(**self._request))
            self._description = describe(self._resolved, None, self._request)
            return Opened(self._node, self._description)
        except Exception as error:
            return self._failed(error)

    def make(self, shards: Sequence[Shard]) -> Made | Failed:
        """Makes those of the shards that are not there. The dataset has been begun.

        While the last one is written and uploaded, another thread may go on with others.
        """
        try:
            with ExitStack() as turn:
                turn.enter_context(self._turn)
                self._job = self._job or self._joined()
                # a place for what is being written and a wish to stop, which both end with the chunk
                folder = replace(self._job.folder, part=f"{self._job.folder.part}/{next(self._thread)}")
                job = replace(self._job, folder=folder, stop=StopRequest())
                started = time.perf_counter()
                totals, left = finished_of(folder, shards)
                built = Built(totals)
                if left:
                    with folder.outbox(job.stop) as send, disk_errors(folder):
                        built = make_pending(job, Pending(tuple(left), totals), send, turn.close)
                return Made(built, time.perf_counter() - started)
        except Exception as error:
            return self._failed(error)

    def close(self) -> None:
        """Removes temporary files."""
        self._stack.close()

    def _joined(self) -> Job:
        """Makes sure that the dataset is seen here, and that what is made here belongs to it."""
        assert self._resolved is not None and self._description is not None
        folder = self._own_folder()
        folder.pull_run()
        try:
            check_run(folder, self._description.run)
        except UsageError as error:
            raise UsageError(f"{error} (all nodes have to see the same folder or URL)") from error
        self._stack.callback(folder.discard)
        run, config = self._description.run, self._description.config
        return Job(
            folder=folder,
            config=config,
            resolved=self._resolved,
            stop=StopRequest(),
            called=time.perf_counter(),
            max_failures=None,
            profile=False,
            quiet=True,
            repeated=RepeatedIds.of(self._resolved.manifest, run["rows"], config.seed),
        )

    def _own_folder(self) -> DatasetFolder:
        """The dataset, with a place for what is being written that no other process has.

        For a URL that is the first staging folder of this node that is free; what a killed process left there goes.
        """
        output, staging = self._request["output"], self._request["staging"]
        folder = dataset_at(output, staging, f"ray-{uuid.uuid4().hex[:12]}")
        if not isinstance(folder, StagedFolder):
            return folder
        for number in itertools.count():
            folder = dataset_at(output, staging, f"ray-{number}")
            try:
                self._stack.enter_context(locked(folder, patience=0))
                break
            except Busy:
                continue
        return folder

    def _failed(self, error: Exception) -> Failed:
        if isinstance(error, NoisegenError):
            return Failed(self._node, str(error), usage=isinstance(error, UsageError))
        return Failed(self._node, repr(error), trace="".join(traceback.format_exception(error)))
