"""From scored pictures to a folder: the pixels that are kept, the two-sample tests, tables and plots."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from noisegen.errors import UsageError
from noisegen.evaluation.noise_eval import ScoredPicture, central_crop
from noisegen.evaluation.noise_means import NoiseReport
from noisegen.evaluation.noise_overview import overview_figures
from noisegen.evaluation.noise_pictures import Sample, map_figures, sample_figures, telltale_figures
from noisegen.evaluation.noise_plots import (
    channel_figures,
    histogram_figures,
    intensity_figures,
    spectrum_figures,
)
from noisegen.evaluation.noise_score import FLOOR
from noisegen.evaluation.noise_tables import noise_json, write_noise_tables
from noisegen.evaluation.plot_style import figure_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from noisegen.evaluation.two_sample import TwoSampleScore

__all__ = ["KeptPictures", "prepare_folder", "two_sample_scores", "write_report"]

# Of each picture and method, together: 3 bytes a pixel and method are held until the two-sample tests are done.
KEPT_PIXELS = 24_000_000
SAMPLE_SIDE = 96
PLOTS = "plots"


@dataclass
class KeptPictures:
    """Central squares of the scored pictures, as large as fits beside those of the others.

    Attributes:
        pictures: how many there will be.
        bit_depth: of the methods.
        kept: so far.
    """

    pictures: int
    bit_depth: int
    kept: list[ScoredPicture] = field(default_factory=list)

    def add(self, picture: ScoredPicture) -> None:
        """Keeps the middle of a picture."""
        side = int((KEPT_PIXELS / max(self.pictures, 1)) ** 0.5)
        self.kept.append(
            ScoredPicture(
                picture.pair,
                central_crop(picture.clean, side),
                central_crop(picture.real, side),
                {name: central_crop(noisy, side) for name, noisy in picture.synthetic.items()},
            )
        )

    def samples(self) -> list[Sample]:
        """The middle of the first picture of each dataset and condition that any method covers, sorted."""
        first: dict[tuple[object, ...], ScoredPicture] = {}
        for picture in self.kept:
            if picture.synthetic:
                first.setdefault((picture.pair.dataset or "", picture.pair.condition), picture)
        scale = 2.0 ** (self.bit_depth - 8)
        return [
            Sample(
                picture.pair.dataset or "",
                picture.pair.condition,
                central_crop(picture.clean, SAMPLE_SIDE) / scale,
                central_crop(picture.real, SAMPLE_SIDE) / scale,
                {name: central_crop(noisy, SAMPLE_SIDE) / scale for name, noisy in picture.synthetic.items()},
            )
            for _, picture in sorted(first.items())
        ]


def two_sample_scores(
    kept: KeptPictures,
    methods: Sequence[str],
    *,
    patches: int,
    seed: int,
    device: str,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, TwoSampleScore]:
    """`two_sample.two_sample_test` of each method, and of the floor last, on the pictures that every method covers.

    Args:
        kept: of the same evaluation.
        methods: their names.
        patches: to train each classifier on, both classes together.
        seed: of the classifier and its patches.
        device: for the classifier.
        advance: called after each epoch of each of them, `two_sample.EPOCHS` times.

    Raises:
        UsageError: the methods have no picture in common, or the pictures are too small for the test.
    """
    from noisegen.evaluation.two_sample import PictureTriple, two_sample_floor, two_sample_test

    shared = [picture for picture in kept.kept if all(name in picture.synthetic for name in methods)]
    if not shared:
        raise UsageError("no picture is covered by every method")
    scores = {}
    for name in (*methods, FLOOR):
        test = two_sample_floor if name == FLOOR else two_sample_test
        triples = [
            PictureTriple(
                real=picture.real,
                synthetic=picture.synthetic[methods[0] if name == FLOOR else name],
                clean=picture.clean,
                condition=picture.pair.condition,
                dataset=picture.pair.dataset or "",
            )
            for picture in shared
        ]
        scores[name] = test(
            triples,
            bit_depth=kept.bit_depth,
            patches=patches,
            seed=seed,
            device=device,
            advance=advance,
        )
    return scores


def prepare_folder(folder: Path) -> None:
    """Makes the folder of a report, before the work starts that fills it.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        (folder / PLOTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: the folder cannot be made: {error.strerror}") from error


def write_report(
    folder: Path, report: NoiseReport, samples: Sequence[Sample], settings: Mapping[str, object]
) -> None:
    """Writes tables and plots into a folder.

    Args:
        folder: as `prepare_folder` makes it; gets ``noise.md``, ``noise.csv``, ``noise.json`` and ``plots/*.png``.
        report: scores with detail.
        samples: for the picture of samples.
        settings: what was asked for, for the JSON.

    Raises:
        UsageError: the folder cannot be written.
    """
    plots: dict[str, Iterable[Figure]] = {
        "overview": overview_figures(report),
        "samples": sample_figures(samples),
        "histograms": histogram_figures(report.scores),
        "intensity": intensity_figures(report.scores),
        "correlation-maps": map_figures(report.scores),
        "spectra": spectrum_figures(report.scores),
        "channels": channel_figures(report.scores),
    }
    for method, test in report.two_sample.items():
        if method != FLOOR:
            file_name = re.sub(r"[^\w.-]+", "-", method)
            plots[f"telltales-{file_name}"] = telltale_figures(method, test)
    written = []
    try:
        for name, figures in plots.items():
            for number, figure in enumerate(figures, start=1):
                path = f"{PLOTS}/{name}{'' if number == 1 else f'-{number}'}.png"
                (folder / path).write_bytes(figure_png(figure))
                written.append(path)
    except OSError as error:
        raise UsageError(f"{folder}: the plots cannot be written: {error.strerror}") from error
    write_noise_tables(folder, report, {"settings": dict(settings)} | noise_json(report), written)
