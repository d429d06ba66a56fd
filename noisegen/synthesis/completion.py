"""The end of a build: what is made of all shards together, once they are all there."""

from __future__ import annotations

from dataclasses import replace

from noisegen.synthesis.formats import assembly_of
from noisegen.synthesis.interrupt import StopRequest
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.locks import Busy, locked
from noisegen.synthesis.staging import StagedFolder
from noisegen.synthesis.summary import write_summary
from noisegen.synthesis.writing import disk_errors

__all__ = ["complete", "complete_if_last"]

# ranks that end at the same moment wait for each other so long
PATIENCE_SECONDS = 0.3


def complete(folder: DatasetFolder, stop: StopRequest) -> bool:
    """Writes what describes the whole, if every shard is finished; whether that is so.

    Raises:
        Interrupted: a signal came.
        NoisegenError: a shard is damaged.
    """
    if not folder.notes().all_done:
        return False
    if assembly := assembly_of(folder.read_run()["config"]["format"]):
        with stop.between_steps():
            assembly.assemble(folder, folder.shards(), stop.check)
    write_summary(folder, stop.check)
    return True


def complete_if_last(folder: DatasetFolder, stop: StopRequest) -> bool:
    """Completes a dataset unless other ranks are at work or have done so; whether it is complete now.

    In a folder the last one to let go of its lock is the one that gets the whole for itself. At a URL the last one to
    upload a shard sees all of them; two that end together may both write, and write the same.
    """
    if isinstance(folder, StagedFolder):
        with locked(folder):
            folder.pull()
            whole = folder.holds("dataset.json")
            if not whole and (whole := complete(folder, stop)):
                folder.publish()
            folder.discard()
            return whole
    folder = replace(folder, part="")
    try:
        with locked(folder, patience=PATIENCE_SECONDS), disk_errors(folder):
            if folder.holds("dataset.json"):
                return True
            folder.remove_leftovers()
            return complete(folder, stop)
    except Busy:
        return False
