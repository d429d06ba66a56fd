"""What makes documented commands quick, and which cannot be run in a test."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from documented_commands import Documented


@dataclass(frozen=True)
class Quick:
    """Options that are appended to the command lines of noisegen that match, but for those that a line has itself."""

    pattern: str
    options: str
    why: str


@dataclass(frozen=True)
class NotRun:
    """Commands that are parsed only: those whose page and text, as in `Documented.title`, match.

    Attributes:
        reason: why they cannot be run here.
        test: what covers them, as pytest names it, where there is something.
    """

    pattern: str
    reason: str
    test: str = ""


@dataclass(frozen=True)
class StandIn:
    """What a name means to blocks with a command that matches, where that is not what it means elsewhere."""

    pattern: str
    name: str
    given: str


QUICK = (
    Quick(
        r"train-noise-model (?!.*(correlated-gaussian|--model-types))",
        "--steps 2 --batch 2 --patch 64",
        "minutes to hours of training",
    ),
    Quick("train-denoiser ", "--steps 2 --batch 2 --patch 32", "minutes to hours of training"),
    Quick(r"eval-noise .*-o ", "--no-two-sample", "minutes of training classifiers"),
    Quick("build-dataset .*--downscale", "--tile-size 64", "the scene's photographs are small"),
    Quick("report default", "--samples 1", "seconds of drawing"),
    Quick("run pipelines/", "--dry-run", "minutes to days"),
)

NOT_RUN = (
    NotRun("gs://", "Google's own store", "tests/test_remote.py"),
    NotRun("--executor ray", "a Ray cluster, half a minute", "tests/test_ray.py"),
    NotRun("--device cuda", "a GPU", "tests/test_cuda.py"),
    NotRun("torchrun ", "several processes, half a minute", "tests/test_distributed_training.py"),
    NotRun(
        "import-checkpoint NM-FlowGAN.pth",
        "the authors' file",
        "tests/test_checkpoint.py::test_the_authors_file_is_imported_by_the_command",
    ),
    NotRun(
        r"^docs/adding-a-model.md: (python|noisegen)",
        "a package that the page describes",
        "tests/test_adding_a_model.py::test_the_page_s_model_has_every_command_that_the_page_names",
    ),
    NotRun(
        r"^docs/formats.md: python, ",
        "DATASET in another format for each",
        "tests/test_formats.py::test_the_documented_lines_read_every_pair_of_the_format",
    ),
    NotRun(
        "^docs/training-denoisers.md: python, ",
        "a network of one's own",
        "tests/test_tile_stream.py::test_the_documented_loop_trains",
    ),
    NotRun("halo_and_strength.py", "has no options, runs for minutes"),
    NotRun("/shared/", "a cluster's file system"),
    NotRun(
        r"^docs/scaling.*: (job=.\(|NOISEGEN_IMAGE=\S+ )?(docker|aws|gcloud|kubectl|sbatch|apptainer|squeue|sacct|"
        r"tail|ray|for|export|wait)\b",
        "containers, clusters and clouds",
        "tests/test_scaling_pages.py",
    ),
    NotRun(
        "^docs/scaling.*: sed",
        "is run by",
        "tests/test_scaling_pages.py::test_the_sed_commands_fill_in_everything",
    ),
    NotRun(r"^docs/scaling/slurm.md: (python -m venv|\.) ", "makes a virtual environment"),
    NotRun(r"noisegen serve\b", "runs until it is stopped", "tests/test_serve.py"),
    NotRun("^docs/serve.md: curl ", "asks a server", "tests/test_serve.py"),
    NotRun(
        "^docs/python.md: python, ",
        "a network of one's own",
        "tests/test_python_page.py::test_the_loops_on_fresh_noise_and_on_a_dataset_train",
    ),
    NotRun(
        "^docs/own-camera.md: python, ",
        "a series of shots",
        "tests/test_own_camera_page.py::test_the_first_shot_is_noisy_and_the_mean_of_the_others_clean",
    ),
    NotRun("^docs/remote.md: export", "an example's address"),
)


STAND_INS = (StandIn("^docs/(grey-and-16-bit|xray).md: ", "pairs.csv", "xray-pairs.csv"),)


def quickened(arguments: list[str]) -> list[str]:
    """The words of a noisegen command line with the options of all rules that it matches."""
    line = shlex.join(arguments)
    more: list[str] = []
    for rule in QUICK:
        if re.match(rule.pattern, line):
            more += _without(shlex.split(rule.options), {word.split("=")[0] for word in arguments})
    return [*arguments, *more]


def _without(options: list[str], given: set[str]) -> list[str]:
    kept: list[str] = []
    taken = False
    for word in options:
        taken = word not in given if word.startswith("-") else taken
        kept += [word] if taken else []
    return kept


def stand_ins(block: Sequence[Documented]) -> dict[str, str]:
    """What is put in place of names of the scene for the commands of a block."""
    return {
        rule.name: rule.given
        for rule in STAND_INS
        if any(re.search(rule.pattern, documented.title) for documented in block)
    }


def not_run(documented: Documented) -> NotRun | None:
    return next((rule for rule in NOT_RUN if re.search(rule.pattern, documented.title)), None)
