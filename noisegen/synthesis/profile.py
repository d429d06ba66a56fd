"""`build-dataset --profile`: what each thread of a build did, what limits it, and what could be done about that."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType

import torch

from noisegen.remote import CONNECTIONS
from noisegen.synthesis.files import write_json
from noisegen.synthesis.interrupt import Interrupted
from noisegen.synthesis.layout import DatasetFolder
from noisegen.synthesis.memory import peak_resident_bytes
from noisegen.synthesis.plan import BuildConfig
from noisegen.synthesis.stages import StageClock, Work, bottleneck
from noisegen.synthesis.threads import usable_cores
from noisegen.synthesis.trace import Trace

__all__ = ["Profile", "Profiler", "Spent"]

# of PNG pictures, those that can be left for "stored"
LEVELS = ("fast", "small")


@dataclass(frozen=True)
class Spent:
    """A line of a profile: what the threads of a kind did.

    Attributes:
        threads: their kind, see `noisegen.synthesis.stages.Work`.
        activity: what they did; "idle" and "other" are what the other lines leave of their time.
        stage: that this belongs to.
        seconds: thread-seconds.
        share: of these threads' time.
        calls: how often; None for what was not counted.
        megapixels_per_second: by one thread while it ran; None without pixels.
        on_core: share of the seconds in which a core worked on it; otherwise the thread waited for a core, Python's
            lock, a disk or a device. None for idle threads.
    """

    threads: str
    activity: str
    stage: str
    seconds: float
    share: float
    calls: int | None = None
    megapixels_per_second: float | None = None
    on_core: float | None = None

    @classmethod
    def on(cls, work: Work, offered: float) -> Spent:
        """A line of work by threads that had so many seconds together."""
        return cls(
            work.threads,
            work.activity,
            work.stage,
            work.seconds,
            work.seconds / offered,
            work.calls,
            work.pixels / 1e6 / work.seconds if work.pixels and work.seconds else None,
            work.cpu_seconds / work.seconds if work.seconds and work.stage != "idle" else None,
        )

    def text(self) -> str:
        """The line of the table, without the threads."""
        name = self.activity if self.activity == self.stage else f"{self.stage}: {self.activity}"
        calls = "" if self.calls is None else str(self.calls)
        rate = "" if self.megapixels_per_second is None else f"{self.megapixels_per_second:.2f}"
        core = "" if self.on_core is None else f"{self.on_core:.0%}"
        line = f"{name:<27} {self.seconds:>9.2f} {self.share:>6.1%} {calls:>8} {rate:>8} {core:>6}"
        return line.rstrip()


@dataclass(frozen=True)
class Profile:
    """Where the time of a build went.

    Attributes:
        before: seconds from the call to the first look at a photograph: model, manifest, state of the dataset.
        seconds: from then until all shards were made, or the build was interrupted.
        tiles: made in that time.
        megapixels: of their noisy side.
        threads: kind -> number of threads; each had these seconds.
        spent: what they did. The seconds of a kind's lines sum to its threads' time.
        bottleneck: the stage that the others wait for; None where no tile was made.
        advice: what would make the build faster; empty where no tile was made.
        first_tile, first_shard: seconds from the call until it was written, and marked finished; None where there was
            none.
        peak_bytes: the most memory that the process has occupied.
        peak_device_bytes: the most that PyTorch has reserved on a GPU; None without one.
        trace: where the trace is.
        trace_cut: why it ends before the build does; None where it does not.
    """

    before: float
    seconds: float
    tiles: int
    megapixels: float
    threads: dict[str, int]
    spent: tuple[Spent, ...]
    bottleneck: str | None
    advice: str
    first_tile: float | None
    first_shard: float | None
    peak_bytes: int
    peak_device_bytes: int | None
    trace: str
    trace_cut: str | None

    def stage_seconds(self) -> dict[str, float]:
        """Thread-seconds of each stage, over all threads; "other" is the writer's work that is no stage."""
        sums: dict[str, float] = {}
        for line in self.spent:
            sums[line.stage] = sums.get(line.stage, 0.0) + line.seconds
        return sums

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**asdict(self), "stage_seconds": self.stage_seconds()}

    def text(self) -> str:
        """The table and a few lines, for people."""
        rate = f", {self.megapixels / self.seconds:.2f} MP/s" if self.tiles else ""
        lines = [
            f"profile   {self.tiles} tiles in {self.seconds:.2f} s{rate}, after {self.before:.2f} s of preparation",
            f"{'threads':<14}{'what':<27} {'seconds':>9} {'share':>6} {'calls':>8} {'MP/s':>8} {'core':>6}",
        ]
        last = ""
        for line in self.spent:
            kind = f"{self.threads[line.threads]} {line.threads}" if line.threads != last else ""
            lines.append(f"{kind:<14}{line.text()}")
            last = line.threads
        if self.bottleneck:
            lines.append(f"limit     {self.bottleneck}: {self.advice}")
        moments = (("first tile", self.first_tile), ("first shard finished", self.first_shard))
        reached = ", ".join(f"{name} after {at:.2f} s" for name, at in moments if at is not None)
        if reached:
            lines.append(f"start     {reached}")
        device = f", {self.peak_device_bytes / 1e6:.0f} MB on the device" if self.peak_device_bytes else ""
        lines.append(f"memory    {self.peak_bytes / 1e6:.0f} MB at most{device}")
        cut = f" ({self.trace_cut})" if self.trace_cut else ""
        lines.append(f"trace     {self.trace}{cut}; open it in https://ui.perfetto.dev or chrome://tracing")
        return "\n".join(lines)


class Profiler:
    """Times the making of shards. A context that gives the clock for it.

    Where it was asked to, it writes ``state/trace.json`` meanwhile and ``state/profile.json`` at the end, and an
    interruption carries the profile's text as a note.

    Args:
        folder: the dataset.
        config: its settings.
        threads: number of threads by kind, see `noisegen.synthesis.pipeline.thread_counts`.
        called: when the build was called for, in seconds of `time.perf_counter`.
        wanted: whether there is to be a profile.

    Attributes:
        profile: the outcome, once the context is left; None where none is wanted.

    Raises:
        OSError: the trace cannot be made.
    """

    def __init__(
        self,
        folder: DatasetFolder,
        config: BuildConfig,
        threads: Mapping[str, int],
        *,
        called: float,
        wanted: bool,
    ) -> None:
        self._folder = folder
        self._config = config
        self._threads = dict(threads)
        self._called = called
        self._wanted = wanted
        self._trace: Trace | None = None
        self.profile: Profile | None = None

    def __enter__(self) -> StageClock:
        if self._wanted:
            self._folder.trace_file.parent.mkdir(exist_ok=True)
            self._trace = Trace(self._folder.trace_file, self._called)
        process = f"{platform.node()}/{self._folder.part.partition('/')[0]}".rstrip("/")
        self._clock = StageClock(self._threads["maker"], self._trace, process)
        self._clock.record("prepare", self._called, self._clock.started, track="writer")
        return self._clock

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._trace is None:
            return
        seconds, work = time.perf_counter() - self._clock.started, self._clock.work()
        self._trace.close()
        # what is for a URL is taken there when all shards are made
        place = self._folder.place if error is None else str(self._folder.root)
        self.profile = self._made(
            seconds, work, f"{place}/{self._trace.path.relative_to(self._folder.root)}", self._trace.cut
        )
        # a full disk ends the build where the dataset is written, with the reason
        with suppress(OSError):
            write_json(self._folder.profile_file, self.profile.to_dict())
        if isinstance(error, Interrupted):
            error.add_note(self.profile.text())

    def _made(self, seconds: float, work: list[Work], trace: str, cut: str | None) -> Profile:
        threads = dict(self._threads)
        if any(w.threads == "connection" for w in work):
            threads["connection"] = CONNECTIONS
        tiles = sum(w.pixels for w in work if w.activity == "write") // self._config.tile_size**2
        timing = self._clock.whole(tiles)
        limit = bottleneck([timing]) if tiles else None
        reached = {name: moment - self._called for name, moment in self._clock.moments.items()}
        return Profile(
            before=self._clock.started - self._called,
            seconds=seconds,
            tiles=tiles,
            megapixels=tiles * self._config.tile_size**2 / 1e6,
            threads=threads,
            spent=_lines(work, threads, seconds),
            bottleneck=limit,
            advice=_advice(limit, work, seconds, self._config, threads) if limit else "",
            first_tile=reached.get("first tile"),
            first_shard=reached.get("first shard"),
            peak_bytes=peak_resident_bytes(),
            peak_device_bytes=_peak_device_bytes(),
            trace=trace,
            trace_cut=cut,
        )


def _lines(work: list[Work], threads: Mapping[str, int], seconds: float) -> tuple[Spent, ...]:
    lines: list[Spent] = []
    for kind, count in threads.items():
        offered = count * seconds
        done = sorted((w for w in work if w.threads == kind), key=lambda w: (w.stage == "idle", -w.seconds))
        lines += [Spent.on(w, offered) for w in done]
        # pool threads wait for work wherever they do nothing; the writer walks the manifest and cuts tiles
        rest = "other" if kind == "writer" else "idle"
        left = offered - sum(w.seconds for w in done)
        lines.append(Spent(kind, rest, rest, left, left / offered))
    return tuple(lines)


def _advice(
    limit: str, work: list[Work], seconds: float, config: BuildConfig, threads: Mapping[str, int]
) -> str:
    """What would make the stage that the others wait for faster."""
    cores, workers = usable_cores(), threads["maker"]
    more_cores = f"--workers {cores} (there were {workers})" if workers < cores else "more cores"
    if limit == "synthesize" and config.device == "cuda":
        return "noise is computed all the time; a faster GPU helps, more cores do not"
    if limit == "synthesize":
        return f"noise is computed all the time; {more_cores} or a GPU help"
    if limit == "encode":
        larger = "--png-level stored (files a quarter larger) or " if config.png_level in LEVELS else ""
        return f"pictures are compressed all the time; {larger}{more_cores} help"
    if limit == "write":
        return (
            "others wait until files are written; a faster disk, fewer files (--format webdataset or parquet, more "
            "--rows-per-shard) or, for a URL, a faster connection help"
        )
    fetching = sum(w.seconds for w in work if w.activity == "wait for fetching")
    decoding = sum(w.seconds for w in work if w.activity == "decode")
    if fetching > seconds / 2:
        return "photographs arrive slowly; building nearer to them helps"
    if decoding > seconds * threads["decoder"] / 2:
        return (
            f"photographs are decoded slower than tiles are made; {more_cores} (decoders are a share of the workers), "
            "files that decode faster, or more --variants of each photograph help"
        )
    return "the manifest is walked and headers are read all the time; storage that answers faster helps"


def _peak_device_bytes() -> int | None:
    if not torch.cuda.is_initialized():
        return None
    return max(torch.cuda.max_memory_reserved(device) for device in range(torch.cuda.device_count()))
