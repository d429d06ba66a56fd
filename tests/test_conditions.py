"""A camera and an ISO mean what was asked for: found, interpolated by the documented rule, or refused."""

from __future__ import annotations

import math

import pytest

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import InputError, UsageError

KNOWN = [
    Condition("Canon80D", 800),
    Condition("Canon80D", 3200),
    Condition("Canon80D", 12800),
    Condition("GP", 10000),
    Condition("S6", 100),
    Condition("S6", 800),
]


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.of(reversed(KNOWN))


def test_order_of_the_training_pairs_does_not_matter(vocabulary: Vocabulary) -> None:
    assert vocabulary == Vocabulary.of(KNOWN + KNOWN)
    assert vocabulary.cameras == ("Canon80D", "GP", "S6")
    assert vocabulary.isos == (100, 800, 3200, 10000, 12800)
    assert vocabulary.index(Condition("S6", 800)) == (1, 2)


def test_an_unknown_camera_is_refused_with_the_known_ones_and_the_nearest_name(
    vocabulary: Vocabulary,
) -> None:
    with pytest.raises(InputError, match=r"did you mean 'Canon80D'.*known: Canon80D, GP, S6") as caught:
        vocabulary.resolve(Condition("Canon 80D", 800))
    assert caught.value.reason == "unknown_camera"
    with pytest.raises(InputError, match="known: Canon80D, GP, S6") as caught:
        vocabulary.resolve(Condition("Polaroid", 800))
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("condition", KNOWN)
def test_a_known_iso_is_used_as_it_is(vocabulary: Vocabulary, condition: Condition) -> None:
    mix = vocabulary.resolve(condition)
    assert (mix.low, mix.high, mix.weight, mix.rule) == (condition, condition, 0.0, "exact")


def test_an_iso_one_stop_of_two_above_a_known_one_lies_halfway(vocabulary: Vocabulary) -> None:
    mix = vocabulary.resolve(Condition("Canon80D", 1600))
    assert mix.condition == Condition("Canon80D", 1600)
    assert (mix.low.iso, mix.high.iso) == (800, 3200)
    assert mix.weight == pytest.approx(0.5)
    assert mix.rule == "log-iso 800..3200 at 0.5000"


@pytest.mark.parametrize(
    ("iso", "low", "high"), [(801, 800, 3200), (3199, 800, 3200), (3201, 3200, 12800), (10000, 3200, 12800)]
)
def test_an_iso_between_known_ones_takes_the_nearest_two_of_its_own_camera(
    vocabulary: Vocabulary, iso: int, low: int, high: int
) -> None:
    mix = vocabulary.resolve(Condition("Canon80D", iso))
    assert (mix.low, mix.high) == (Condition("Canon80D", low), Condition("Canon80D", high))
    assert math.exp((1 - mix.weight) * math.log(low) + mix.weight * math.log(high)) == pytest.approx(iso)
    assert 0 < mix.weight < 1


@pytest.mark.parametrize(
    ("camera", "iso"), [("Canon80D", 799), ("Canon80D", 12801), ("GP", 9999), ("GP", 10001), ("S6", 3200)]
)
def test_an_iso_outside_the_range_of_its_camera_is_refused(
    vocabulary: Vocabulary, camera: str, iso: int
) -> None:
    with pytest.raises(InputError, match=f"ISO {iso} is outside .* {camera}") as caught:
        vocabulary.resolve(Condition(camera, iso))
    assert caught.value.reason == "iso_out_of_range"
    for known in vocabulary.isos_of(camera):
        assert str(known) in str(caught.value)


@pytest.mark.parametrize("iso", [0, -100])
def test_an_iso_that_is_not_positive_is_refused(vocabulary: Vocabulary, iso: int) -> None:
    with pytest.raises(InputError, match="not a positive") as caught:
        vocabulary.resolve(Condition("S6", iso))
    assert caught.value.reason == "bad_iso"
    with pytest.raises(InputError, match="not a positive"):
        vocabulary.draw(0, "a", 0, None, iso)


def test_a_draw_depends_on_seed_picture_and_variant_alone(vocabulary: Vocabulary) -> None:
    ids = [f"photo{n}" for n in range(40)]
    drawn = [vocabulary.draw(3, name, 0, None, None) for name in ids]
    backwards = [vocabulary.draw(3, name, 0, None, None) for name in reversed(ids)]
    assert drawn == backwards[::-1]
    assert drawn != [vocabulary.draw(4, name, 0, None, None) for name in ids]
    assert drawn != [vocabulary.draw(3, name, 1, None, None) for name in ids]


def test_a_draw_gives_every_known_pair_equally_often_and_nothing_else(vocabulary: Vocabulary) -> None:
    count = 6000
    drawn = [vocabulary.draw(0, str(n), 0, None, None) for n in range(count)]
    assert set(drawn) == set(KNOWN)
    for condition in KNOWN:
        assert drawn.count(condition) == pytest.approx(count / len(KNOWN), rel=0.15)


def test_a_draw_for_a_given_camera_uses_the_iso_settings_of_that_camera(vocabulary: Vocabulary) -> None:
    drawn = {vocabulary.draw(0, str(n), 0, "Canon80D", None) for n in range(100)}
    assert drawn == {c for c in KNOWN if c.camera == "Canon80D"}
    with pytest.raises(InputError, match="known: Canon80D, GP, S6"):
        vocabulary.draw(0, "a", 0, "IP", None)


def test_a_draw_for_a_given_iso_keeps_it_and_uses_the_cameras_that_cover_it(vocabulary: Vocabulary) -> None:
    assert {vocabulary.draw(0, str(n), 0, None, 800) for n in range(100)} == {
        Condition("Canon80D", 800),
        Condition("S6", 800),
    }
    assert {vocabulary.draw(0, str(n), 0, None, 10000) for n in range(100)} == {
        Condition("Canon80D", 10000),
        Condition("GP", 10000),
    }
    with pytest.raises(InputError, match="no camera covers ISO 25600; known: Canon80D 800, 3200, 12800"):
        vocabulary.draw(0, "a", 0, None, 25600)


@pytest.mark.parametrize("iso", [50, 100, 640, 800, 1250, 25600])
def test_no_iso_ever_becomes_another_one(vocabulary: Vocabulary, iso: int) -> None:
    for camera in ("S6", None):
        try:
            mix = vocabulary.resolve(vocabulary.draw(0, "a", 0, camera, iso))
        except InputError as error:
            assert error.reason == "iso_out_of_range"
        else:
            assert mix.condition.iso == iso
            assert mix.low.iso <= iso <= mix.high.iso


@pytest.mark.parametrize(
    ("cameras", "isos", "known", "message"),
    [
        (("A",), (100,), (), "lists none"),
        (("A", "A"), (100,), (Condition("A", 100),), "cameras repeat"),
        (("A",), (100, 100), (Condition("A", 100),), "isos repeat"),
        (("A", "B"), (100,), (Condition("A", 100),), "no ISO setting of camera B"),
        (("A",), (100,), (Condition("A", 100), Condition("A", 200)), "not made of"),
        (("A",), (-100,), (Condition("A", -100),), "positive"),
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_refused(
    cameras: tuple[str, ...], isos: tuple[int, ...], known: tuple[Condition, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Vocabulary(cameras, isos, known)
