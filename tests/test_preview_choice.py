"""What a preview shows where it is not told: cameras and ISO settings, and places of the photograph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from noisegen.conditions import Condition, Vocabulary
from noisegen.errors import UsageError
from noisegen.preview import ConditionChoice, asked_place, choose_conditions, choose_places, crop_size

# ISO is the level of the noise, so that what is ranked can be told
KNOWN = [("A", 1), ("A", 4), ("A", 16), ("B", 2), ("B", 64), ("C", 3), ("C", 8), ("NikonD800", 5)]
VOCABULARY = Vocabulary.of(Condition(camera, iso) for camera, iso in KNOWN)
MANY = Vocabulary.grid(["A"], range(100, 1600, 100))


def choose(
    cameras: Sequence[str] = (),
    isos: Sequence[int] = (),
    shot_with: tuple[str | None, int | None] = (None, None),
    vocabulary: Vocabulary = VOCABULARY,
) -> ConditionChoice:
    def levels(conditions: Sequence[Condition]) -> dict[Condition, float]:
        return {condition: float(condition.iso) for condition in conditions}

    return choose_conditions(vocabulary, cameras, isos, shot_with=shot_with, noise_levels=levels)


def names(choice: ConditionChoice) -> list[tuple[str, int]]:
    return [(condition.camera, condition.iso) for condition in choice.conditions]


def test_every_covered_combination_is_shown_and_the_others_are_told() -> None:
    choice = choose(["A", "B"], [1, 8])
    assert names(choice) == [("A", 1), ("A", 8), ("B", 8)]
    assert len(choice.notes) == 1 and choice.notes[0].endswith(": B ISO 1")


def test_a_camera_alone_stands_for_its_isos_and_an_iso_for_the_cameras_that_cover_it() -> None:
    assert names(choose(["C", "B"])) == [("C", 3), ("C", 8), ("B", 2), ("B", 64)]
    assert names(choose(isos=[5])) == [("A", 5), ("B", 5), ("C", 5), ("NikonD800", 5)]


def test_of_many_isos_some_are_shown_evenly_and_that_is_told() -> None:
    choice = choose(["A"], vocabulary=MANY)
    assert len(choice.conditions) == 8
    assert (choice.conditions[0].iso, choice.conditions[-1].iso) == (100, 1500)
    assert "8 of 15" in choice.notes[0]


def test_unknown_cameras_uncovered_isos_and_too_many_of_both_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'NikonD800'"):
        choose(["NikonD80", "A"], [5])
    with pytest.raises(UsageError, match="ISO 32 is outside"):
        choose(["A"], [32])
    with pytest.raises(UsageError, match="no camera covers ISO 100"):
        choose(isos=[100])
    with pytest.raises(UsageError, match="13 cameras and ISO settings are too many"):
        choose(["A"], range(100, 1400, 100), vocabulary=MANY)


def test_what_exif_says_is_shown_where_the_model_knows_it() -> None:
    assert names(choose(shot_with=("A", 5))) == [("A", 5)]
    assert names(choose(shot_with=("NIKON D800", 5))) == [("NikonD800", 5)]
    of_camera = choose(shot_with=("A", 100))
    assert names(of_camera) == [("A", 1), ("A", 4), ("A", 16)]
    assert "100" in of_camera.notes[0]


def test_without_a_word_noise_rises_evenly_over_different_cameras() -> None:
    for camera in (None, "another"):
        choice = choose(shot_with=(camera, 100))
        assert names(choice) == [("A", 1), ("NikonD800", 5), ("C", 8), ("B", 64)]
        assert bool(choice.notes) == (camera is not None)
    few = Vocabulary.of([Condition("A", 1), Condition("A", 2)])
    assert names(choose(vocabulary=few)) == [("A", 1), ("A", 2)]


def test_a_model_that_knows_no_difference_is_shown_once() -> None:
    choice = choose_conditions(
        VOCABULARY, [], [], shot_with=(None, None), noise_levels=lambda known: dict.fromkeys(known, 1.73)
    )
    assert len(choice.conditions) == 1 and "same noise" in choice.notes[0]


def landscape(dtype: type = np.uint8, channels: int = 3) -> np.ndarray:
    """At the left flat, in the middle detailed, at the right dark; slopes elsewhere."""
    levels = np.zeros((480, 960)) + np.linspace(40, 200, 480)[:, None]
    levels[:, :320] = 120
    levels[:, 320:640] = np.where(np.indices((480, 320)).sum(axis=0) // 3 % 2, 60, 200)
    levels[:, 640:] *= np.linspace(1, 0.1, 320)
    scaled = levels / 255 * np.iinfo(dtype).max
    return np.repeat(scaled[..., None], channels, axis=2).astype(dtype)


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint16, 1)])
def test_flat_detailed_and_dark_places_are_found(dtype: type, channels: int) -> None:
    flat, detailed, dark = choose_places(landscape(dtype, channels), 192, 256, (0, np.iinfo(dtype).max))
    assert [flat.what, detailed.what, dark.what] == ["flattest", "most detailed", "darkest"]
    assert flat.x + flat.width <= 320
    assert detailed.x >= 320 and detailed.x + detailed.width <= 640
    assert dark.x >= 640 and dark.y < 48
    assert {place.height for place in (flat, detailed, dark)} == {192}


def test_places_never_overlap_and_stay_inside() -> None:
    generator = np.random.default_rng(0)
    for height, width in ((97, 1000), (1000, 97), (256, 256), (300, 400), (513, 129)):
        picture = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        covered = np.zeros((height, width), int)
        places = choose_places(picture, 156, 208, (0, 255))
        for place in places:
            assert covered[place.window].shape == (place.height, place.width)
            covered[place.window] += 1
        assert covered.max() == 1 and len(places) >= 2


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (192, 256)])
def test_a_photograph_no_larger_than_a_crop_is_shown_whole(size: tuple[int, int]) -> None:
    (place,) = choose_places(np.zeros((*size, 3), np.uint8), 192, 256, (0, 255))
    assert (place.y, place.x, place.height, place.width) == (0, 0, *size)


def test_a_flat_photograph_has_one_place_for_all_are_alike() -> None:
    assert len(choose_places(np.full((600, 800, 3), 99, np.uint8), 192, 256, (0, 255))) == 1


def test_asked_places_end_at_the_border_and_begin_inside() -> None:
    picture = np.zeros((100, 150, 3), np.uint8)
    assert asked_place(picture, 120, 90, 64, 64).window == (slice(90, 100), slice(120, 150))
    with pytest.raises(UsageError, match="x up to 149 and y up to 99"):
        asked_place(picture, 150, 0, 64, 64)


def test_crops_are_wide_where_columns_are_few() -> None:
    sizes = [crop_size(columns) for columns in (2, 5, 9, 14)]
    assert sizes == [(240, 320), (192, 256), (144, 192), (144, 192)]
