"""The clock of a build's stages and the trace behind it: nothing lost, little cost, bounded memory."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from trace_fixtures import read_trace, spans

from noisegen.synthesis import trace
from noisegen.synthesis.stages import StageClock
from noisegen.synthesis.trace import Trace


def test_spans_that_a_disk_is_too_slow_for_are_not_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "MAX_WAITING", 100)
    monkeypatch.setattr(trace, "WRITE_SECONDS", 60)
    slow = Trace(tmp_path / "trace.json", time.perf_counter())
    clock = StageClock(1, slow)
    for _ in range(1000):
        with clock.stage("encode"):
            pass
    assert slow.cut is not None and len(slow._waiting) <= 101
    slow.close()
    assert len(spans(read_trace(tmp_path / "trace.json"))["writer"]) == 101
    assert clock.work()[0].calls == 1000


def microseconds(clock: StageClock) -> float:
    """What a stage costs its thread."""
    started = time.thread_time()
    for _ in range(3000):
        with clock.stage("synthesize", pixels=65536, tiles=1, first="00000000-00-00000-00000"):
            pass
    return (time.thread_time() - started) / 3000 * 1e6


def test_a_stage_costs_microseconds() -> None:
    """A tile has about four; on the fastest GPU thousands are made in a second."""
    assert min(microseconds(StageClock(1)) for _ in range(5)) < 15


def test_a_stage_costs_microseconds_with_a_trace_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "WRITE_SECONDS", 60)
    recording = Trace(tmp_path / "trace.json", time.perf_counter())
    clock = StageClock(1, recording)
    assert min(microseconds(clock) for _ in range(5)) < 30
    started = time.thread_time()
    recording._write(recording._spans())  # what its own thread does
    assert (time.thread_time() - started) / 15000 * 1e6 < 100
    recording.close()


def test_laps_of_all_threads_sum_to_the_whole() -> None:
    """Shards are timed by laps of the clock that the profile reads as a whole: nothing may be lost between them."""
    clock = StageClock(2)
    laps = []

    def work() -> None:
        for _ in range(300):
            with clock.stage("encode"):
                pass

    threads = [threading.Thread(target=work, name=f"maker_{i}") for i in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        laps.append(clock.lap(1))
    laps.append(clock.lap(1))
    (work_done,) = clock.work()
    assert (work_done.threads, work_done.calls) == ("maker", 600)
    assert sum(lap.stages["encode"] for lap in laps) == pytest.approx(work_done.seconds, abs=1e-4 * len(laps))


def test_a_device_has_a_track_of_its_own_that_counts_in_no_sum(tmp_path: Path) -> None:
    recording = Trace(tmp_path / "trace.json", 0.0)
    clock = StageClock(1, recording)
    clock.record("batch", 1.0, 1.5, track="cuda:0", tiles=16)
    recording.close()
    (event,) = spans(read_trace(tmp_path / "trace.json"))["cuda:0"]
    assert (event["ts"], event["dur"], event["args"]) == (1e6, 5e5, {"tiles": 16})
    assert clock.work() == [] and clock.recording and not StageClock(1).recording
