"""Progress as JSON lines, where there is no terminal."""

from __future__ import annotations

import json

import pytest

from noisegen.progress import Progress, say, silenced


def lines_of(capture: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capture.readouterr().err.splitlines()]


def test_one_line_at_the_end_says_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "tile", "build") as progress:
        for n in range(3):
            progress.update(failed=n)
    (line,) = lines_of(capsys)
    assert {key: line[key] for key in ("event", "description", "done", "total", "unit", "failed")} == {
        "event": "progress",
        "description": "build",
        "done": 3,
        "total": 3,
        "unit": "tile",
        "failed": 2,
    }
    assert set(line) >= {"seconds", "rate"}


def test_a_line_comes_each_interval_and_not_for_each_unit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("noisegen.progress.time.monotonic", lambda: now)
    with Progress(None, "tile", "build", interval=10) as progress:
        for _ in range(100):
            now += 0.25
            progress.update(2)
    lines = lines_of(capsys)
    assert [(line["seconds"], line["done"]) for line in lines] == [(10.0, 80), (20.0, 160), (25.0, 200)]
    assert {line["rate"] for line in lines} == {8.0}


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, "tile", "build", interval=0, quiet=True) as progress:
        progress.update()
    assert capsys.readouterr().err == ""


def test_the_last_line_comes_after_a_failure_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), Progress(2, "tile", "build") as progress:
        progress.update()
        raise RuntimeError
    assert [line["done"] for line in lines_of(capsys)] == [1]


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress(2, "tile", "build") as progress:
        progress.update(2, failed=1)
    shown = capsys.readouterr().err
    assert "build: 100%" in shown
    assert "failed=1" in shown


def test_pixels_give_a_rate_and_a_total_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("noisegen.progress.time.monotonic", lambda: now)
    with Progress(100, "tile", "build", done=20, interval=4) as progress:
        for _ in range(4):
            now += 2
            progress.update(10, pixels=1_000_000)
    before, after, _ = lines_of(capsys)
    # what an earlier session did counts as done, but not for the rates
    assert (before["done"], before["rate"], before["mp_per_s"], before["seconds_left"]) == (
        40,
        5.0,
        0.5,
        12.0,
    )
    assert (after["done"], after["seconds_left"]) == (60, 8.0)


def test_pixels_as_units_are_counted_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(None, "pixel", "denoise") as progress:
        progress.update(10**9)
    (line,) = lines_of(capsys)
    assert isinstance(line["mp_per_s"], float) and line["mp_per_s"] > 0
    assert line["seconds_left"] is None


def test_the_bar_shows_megapixels_and_remarks_stand_above_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress(4_000_000, "pixel", "denoise") as progress:
        progress.update(2_000_000)
        say("one is left out")
        progress.update(2_000_000)
    shown = capsys.readouterr().err
    assert " MP/s" in shown and "4.00M/4.00MP" in shown
    assert "\rnoisegen: one is left out\n" in shown


def test_silenced_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with silenced():
        say("nothing")
        with silenced(False), Progress(1, "tile", "build", interval=0) as progress:
            progress.update()
    assert capsys.readouterr().err == ""
    say("something")
    assert capsys.readouterr().err == "noisegen: something\n"
