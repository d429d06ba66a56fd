"""The file of distributions: what it may hold, what it says about mistakes, and that draws follow it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from noisegen.chance import pick, places
from noisegen.condition_draw import ConditionDraw, read_condition_draw
from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import InputError, UsageError

VOCABULARY = Vocabulary.of(
    [
        Condition("GP", 10000),
        Condition("S6", 100),
        Condition("S6", 800),
        Condition("N6", 400),
        Condition("N6", 3200),
    ]
)
DRAWS = 4000


def read(folder: Path, text: str) -> ConditionDraw:
    (folder / "conditions.yaml").write_text(text, encoding="utf-8")
    return read_condition_draw(folder / "conditions.yaml", VOCABULARY)


def drawn(
    draw: ConditionDraw, *, camera: str | None = None, iso: int | None = None, variant: int = 0
) -> list[Condition]:
    return [draw.draw(VOCABULARY, 7, f"photo {n}", variant, camera, iso) for n in range(DRAWS)]


def test_cameras_come_by_their_weights_and_those_not_named_never(tmp_path: Path) -> None:
    draw = read(tmp_path, "cameras: {GP: {weight: 3}, S6: }")
    counts = Counter(condition.camera for condition in drawn(draw))
    assert counts["GP"] / DRAWS == pytest.approx(0.75, abs=0.03)
    assert set(counts) == {"GP", "S6"}


def test_iso_settings_come_equally_often_or_by_their_weights(tmp_path: Path) -> None:
    draw = read(tmp_path, "cameras: {S6: {iso: [100, 200, 400]}, N6: {iso: {400: 3, 3200: 1}}}")
    counts = Counter(drawn(draw))
    of_camera = {c: sum(n for condition, n in counts.items() if condition.camera == c) for c in ("S6", "N6")}
    for iso in (100, 200, 400):
        assert counts[Condition("S6", iso)] / of_camera["S6"] == pytest.approx(1 / 3, abs=0.04)
    assert counts[Condition("N6", 400)] / of_camera["N6"] == pytest.approx(0.75, abs=0.04)


def test_log_uniform_fills_its_range_evenly_in_stops(tmp_path: Path) -> None:
    draw = read(tmp_path, "cameras: {S6: {iso: {log_uniform: [100, 800]}}}")
    isos = np.array([condition.iso for condition in drawn(draw)])
    assert isos.min() >= 100 and isos.max() <= 800
    stops, _ = np.histogram(np.log2(isos / 100), bins=3, range=(0, 3))
    assert stops / DRAWS == pytest.approx([1 / 3] * 3, abs=0.03)
    assert len(set(isos.tolist())) > 300


def test_a_camera_that_is_given_has_its_iso_drawn_from_its_own_distribution(tmp_path: Path) -> None:
    draw = read(tmp_path, "cameras: {S6: {iso: [200]}, GP: }")
    assert set(drawn(draw, camera="S6")) == {Condition("S6", 200)}
    # of a camera that the file does not name, all that the model knows
    assert set(drawn(draw, camera="N6")) == {Condition("N6", 400), Condition("N6", 3200)}
    with pytest.raises(InputError, match="did you mean 'S6'"):
        draw.draw(VOCABULARY, 0, "a", 0, "S66", None)


def test_an_iso_that_is_given_has_its_camera_drawn_by_weight_from_those_that_cover_it(tmp_path: Path) -> None:
    draw = read(tmp_path, "cameras: {S6: {weight: 3, iso: [100]}, N6: , GP: {weight: 100}}")
    counts = Counter(drawn(draw, iso=500))
    assert set(counts) == {Condition("S6", 500), Condition("N6", 500)}
    assert counts[Condition("S6", 500)] / DRAWS == pytest.approx(0.75, abs=0.03)
    with pytest.raises(InputError, match=r"no camera .* covers ISO 9000.*GP, N6, S6") as caught:
        draw.draw(Vocabulary.of([*VOCABULARY.known, Condition("X", 9000)]), 0, "a", 0, None, 9000)
    assert caught.value.reason == "iso_out_of_range"


def test_what_is_given_wholly_is_kept_and_a_draw_is_a_pure_function(tmp_path: Path) -> None:
    draw = read(tmp_path, "cameras: {S6: , N6: {weight: 2}}")
    assert set(drawn(draw, camera="GP", iso=10000)) == {Condition("GP", 10000)}
    reordered = read(tmp_path, "cameras: {N6: {weight: 2}, S6: }")
    assert drawn(draw) == drawn(reordered) == drawn(draw)
    # the draw of one version of a photograph says nothing about that of another
    pairs = Counter(zip(drawn(draw), drawn(draw, variant=1), strict=True))
    assert pairs[Condition("N6", 400), Condition("N6", 3200)] / DRAWS == pytest.approx(1 / 9, abs=0.03)
    assert pairs[Condition("S6", 100), Condition("N6", 3200)] / DRAWS == pytest.approx(1 / 18, abs=0.03)


def test_the_resolved_form_survives_json_and_draws_the_same(tmp_path: Path) -> None:
    draw = read(
        tmp_path, "cameras: {S6: {iso: {log_uniform: [100, 800]}}, N6: {weight: 2, iso: [400]}, GP: }"
    )
    stored = json.loads(json.dumps(draw.to_dict()))
    assert stored["GP"] == {"weight": 1.0, "iso": {"10000": 1.0}}
    again = ConditionDraw.parse(stored, VOCABULARY)
    assert again == draw and drawn(again) == drawn(draw)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("cameras: {S66: }", r"conditions.yaml: camera 'S66' is not known; did you mean 'S6'"),
        ("cameras: {S6: {wieght: 2}}", r"camera S6 has the unknown key 'wieght'; did you mean 'weight'"),
        ("camera: {S6: }", r"unknown key 'camera'; did you mean 'cameras'"),
        ("cameras: {S6: {weight: -1}}", "positive number, not -1"),
        ("cameras: {S6: {weight: .inf}}", "positive number"),
        ("cameras: {S6: {iso: [100, 100]}}", "different settings"),
        ("cameras: {S6: {iso: []}}", "different settings"),
        ("cameras: {S6: {iso: 100}}", r"as in \[100, 800\]"),
        ("cameras: {S6: {iso: [6400]}}", "ISO 6400 is outside what is known of camera S6"),
        ("cameras: {S6: {iso: [1.5]}}", "whole number, not 1.5"),
        ("cameras: {S6: {iso: {100: 0}}}", "camera S6, ISO 100: a weight must be a positive number"),
        ("cameras: {S6: {iso: {log_uniform: [800, 100]}}}", "put the lower first"),
        ("cameras: {S6: {iso: {log_uniform: 100}}}", r"\[LOW, HIGH\]"),
        ("cameras: {S6: {iso: {loguniform: [100, 800]}}}", "whole number, not 'loguniform'"),
        ("cameras: {}", "at least one camera"),
        ("cameras: {S6: 100}", "camera S6 must have settings"),
        ("[S6]", "needs the key 'cameras'"),
        ("cameras: [", "not valid YAML"),
        ("cameras: {S6: , N6: , S6: {weight: 3}}", "'S6' is given twice"),
        ("cameras: {S6: {iso: {100: 1, 100: 2}}}", "'100' is given twice"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        read(tmp_path, text)
    assert "conditions.yaml" in str(caught.value)


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_condition_draw(tmp_path / "none.yaml", VOCABULARY)


def test_places_are_independent_and_shares_are_as_wide_as_their_weights() -> None:
    pairs = np.array([places(2, "a", n) for n in range(5000)])
    assert pairs.min() >= 0 and pairs.max() < 1
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.04
    assert pairs.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.02)
    assert [pick([1, 2, 1], place) for place in (0, 0.24, 0.25, 0.74, 0.75, 0.999)] == [0, 0, 1, 1, 2, 2]
