"""Parts of a noise model's page that show noise which was drawn for it: how strong, how shaped, and samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from noisegen.conditions import Condition
from noisegen.evaluation.structure_metrics import CHANNEL_PAIRS
from noisegen.report.drawn_noise import FLAT_LEVEL, TONES, DrawnNoise
from noisegen.report.noise_figures import histogram_figure, level_figure, map_figure, spectrum_figure
from noisegen.webpages.markup import Markup, fragment, paragraph, table
from noisegen.webpages.pictures import GAIN, Picture, amplified_noise, chart
from noisegen.webpages.viewer import comparison, gallery

__all__ = ["level_pieces", "sample_pieces", "shape_pieces"]


def level_pieces(drawn: Sequence[DrawnNoise]) -> list[Markup]:
    """How strong the noise is, by camera, ISO and brightness."""
    rows = [
        [noise.condition.camera, str(noise.condition.iso), *(noise.tone_std(tone) for tone in TONES)]
        for noise in drawn
    ]
    middles = [noise.tone_std("middle") for noise in drawn]
    return [
        paragraph(
            "The model put noise on a smooth ramp from black to white, and this is its standard deviation (std) at "
            "each brightness, in 8-bit grey levels of 0 to 255. At 2 noise is hardly seen, at 10 it is plain, at 30 "
            "it hides details. Look for lines that are smooth and, for one camera, higher for higher ISO; a sudden "
            "dip or jump is where it learned from few pixels of that brightness, or from odd ones. Near white, and "
            "with strong noise near black, lines fall because values are clipped."
        ),
        chart(
            level_figure(drawn),
            f"Noise std against clean value; at {TONES['middle']} it is {min(middles):.3g} to {max(middles):.3g}.",
            [
                table(
                    ["camera", "ISO", *(f"std at {name} ({level})" for name, level in TONES.items())],
                    rows,
                    caption="Noise std in 8-bit grey levels, all channels together",
                )
            ],
        ),
    ]


def shape_pieces(drawn: Sequence[DrawnNoise]) -> list[Markup]:
    """What the noise of a flat surface is like: grain, colours, spectrum, histogram."""
    nearest = [noise.flat.neighbour for noise in drawn]
    pairs = list(CHANNEL_PAIRS) if len(drawn[0].channels) else []
    structure = table(
        ["camera", "ISO", "next pixel", *pairs],
        [
            [
                noise.condition.camera,
                str(noise.condition.iso),
                noise.flat.neighbour,
                *map(float, noise.channels),
            ]
            for noise in drawn
        ],
        caption="Correlation of the noise with that of the next pixel, and between the colours of a pixel",
    )
    spectra = table(
        ["camera", "ISO", "coarse, below 0.1", "fine, above 0.4"],
        [
            [
                noise.condition.camera,
                str(noise.condition.iso),
                *map(_decibels, (noise.flat.spectrum[:6], noise.flat.spectrum[26:])),
            ]
            for noise in drawn
        ],
        caption="Mean power in dB by cycles per pixel",
    )
    return [
        paragraph(
            "All of this is measured on noise that the model put on a flat grey surface of {} of 255.",
            FLAT_LEVEL,
        ),
        fragment("<h3>Grain</h3>"),
        paragraph(
            "How alike the noise of a pixel (in the middle) and of those around it is, up to 8 pixels away. A lone "
            "bright dot: each pixel by itself, as raw data and simple models have it. A wide blot: coarse, smeared "
            "grain, as a camera's processing leaves it."
        ),
        chart(
            map_figure(drawn),
            f"Correlation maps; with the next pixel it is {min(nearest):.2f} to {max(nearest):.2f}.",
            [structure],
        ),
        fragment("<h3>Spectrum</h3>"),
        paragraph(
            "The same by frequency: how much of the noise is coarse (left) and how much is fine (right). White noise "
            "would be a level line; a line that falls to the right is grain of several pixels."
        ),
        chart(spectrum_figure(drawn), "Power of the noise by spatial frequency.", [spectra]),
        fragment("<h3>Histogram</h3>"),
        paragraph(
            "How often noise of each strength occurs, against the normal distribution (dotted), on a scale where "
            "each line is ten times rarer than the one above. Above the dots at the sides: rare strong outliers. A "
            "spike at the left end: values clipped at black."
        ),
        chart(
            histogram_figure(drawn),
            "Density of the noise beside the normal distribution.",
            [
                table(
                    ["camera", "ISO", "std", "beyond 3 std"],
                    [[noise.condition.camera, str(noise.condition.iso), *_tails(noise)] for noise in drawn],
                    caption="Share of values beyond 3 standard deviations; of normal noise 0.0027",
                )
            ],
        ),
    ]


def sample_pieces(
    clean: np.ndarray,
    noisy: Iterable[tuple[Condition, np.ndarray]],
    *,
    bits: int,
    what: str,
    budget: int,
) -> list[Markup]:
    """A picture with the noise of some cameras and ISO settings, to compare.

    Args:
        clean: the picture.
        noisy: with noise, those to be shown in any case first.
        bits: of the pictures.
        what: they show.
        budget: for the pictures, in bytes of page.
    """
    items = []
    for condition, picture in noisy:
        place = f"{condition.camera}, ISO {condition.iso}"
        noise = amplified_noise(picture, clean, bits=bits)
        pictures = [
            Picture.of(name, pixels, alt=f"{what}, {name}, {place}", bits=bits)
            for name, pixels in (("clean", clean), ("noisy", picture), (f"noise × {GAIN}", noise))
        ]
        budget -= sum(len(shown.url) for shown in pictures)
        if budget < 0:
            break
        items.append((condition, comparison(pictures, caption=place)))
    return [
        paragraph(
            "{}, clean on the left of the slider, with the model's noise on the right; {} shows the noise alone, "
            "around grey. Zoom in to see single pixels.",
            f"{what[:1].upper()}{what[1:]}",
            f"“noise × {GAIN}”",
        ),
        gallery(
            ["camera", "ISO"],
            [((c.camera, str(c.iso)), viewer) for c, viewer in sorted(items)],
            what="cameras and ISO settings",
        ),
    ]


def _decibels(power: np.ndarray) -> float:
    return float(10 * np.log10(max(float(np.mean(power)), 1e-3)))


def _tails(noise: DrawnNoise) -> tuple[float, float]:
    """Standard deviation, and the share of values further than three of them from the mean."""
    flat = noise.flat
    far = np.abs(flat.levels - np.average(flat.levels, weights=flat.histogram)) > 3 * flat.total_std
    return flat.total_std, float(flat.histogram[far].sum() / flat.histogram.sum())
