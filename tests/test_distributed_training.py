"""Processes started by torchrun train the model that one process would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_fixtures import recipe, shrink, two_cameras_marked

from noisegen.conditions import Condition
from noisegen.datasets.pairs import read_pairs
from noisegen.fitting import trainer
from noisegen.fitting.distributed import Ranks
from noisegen.fitting.draws import draw
from noisegen.fitting.patches import PatchSampler
from noisegen.fitting.run import train_noise_model
from noisegen.models import Randomness, load_noise_model
from noisegen.models.checkpoint import read_checkpoint

# The paper's condition encoder has batch norm, which has to see the batch of all processes.
EVERY_LOSS = {
    "batch": 5,
    "adversarial_from": 2,
    "statistics": 1.0,
    "quantiles": 1.0,
    "ema": 0.9,
    "generator_every": 1,
    "validate_every": 2,
    "keep": "last",
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

SCRIPT = """
import sys
from pathlib import Path
import pytest, torch
from safetensors.torch import save_file
from training_fixtures import recipe, shrink
from noisegen.fitting import run, steps, trainer

shrink(pytest.MonkeyPatch())
table, fault = Path(sys.argv[1]), sys.argv[2]
train = trainer.train_nm_flowgan
def keep(*args, ranks, **options):
    if fault == "nan" and ranks.rank == 1:
        distance = steps.statistics_distance
        steps.statistics_distance = lambda fake, real: distance(fake, real) * float("nan")
    if fault == "crash" and ranks.rank == 1:
        raise RuntimeError("rank 1 fails")
    trained = train(*args, ranks=ranks, **options)
    weights = {name: values.contiguous() for name, values in trained.model.state_dict().items()}
    save_file(weights, table.with_name(f"rank{ranks.rank}.safetensors"))
    return trained
trainer.train_nm_flowgan = keep
config = recipe("paper", **eval(sys.argv[3]))
run.train_noise_model(table, table.with_name("together.safetensors"), config, quiet=True)
"""


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [str(Path(__file__).parent), str(Path(trainer.__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, *arguments]
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=240
    )


def run_script(table: Path, fault: str) -> subprocess.CompletedProcess[str]:
    script = table.with_name("script.py")
    script.write_text(SCRIPT)
    return torchrun(table.parent, str(script), str(table), fault, repr(EVERY_LOSS))


def noisy_picture(path: Path) -> torch.Tensor:
    """What the model makes of a fixed picture and fixed randomness, unrounded."""
    model = load_noise_model(path)
    numbers = torch.Generator().manual_seed(0)
    clean = torch.linspace(30, 220, 64).round().expand(2, 3, 64, 64)
    noise = Randomness(
        torch.randn(clean.shape, generator=numbers), torch.rand(clean.shape, generator=numbers)
    )
    with torch.no_grad():
        return model.steps(clean, model.encode(list(model.vocabulary.known)), noise).noisy


def test_two_processes_train_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = two_cameras_marked(tmp_path)
    result = run_script(table, "none")
    assert result.returncode == 0, result.stderr
    together, alone, other = (tmp_path / f"{name}.safetensors" for name in ("together", "alone", "other"))
    shrink(monkeypatch)
    train_noise_model(table, alone, recipe("paper", **EVERY_LOSS), quiet=True)
    train_noise_model(table, other, recipe("paper", **EVERY_LOSS, generator_lr=1.1e-4), quiet=True)
    # Weights are not compared: Adam makes a step of rounding errors where a gradient is zero, as that of a
    # bias before a norm is. What the model does is the same but for a pixel that is rounded the other way.
    expected = noisy_picture(alone)
    assert (noisy_picture(together) - expected).abs().mean() < 5e-4
    assert (noisy_picture(other) - expected).abs().mean() > 5e-3
    cards = [read_checkpoint(path).card for path in (together, alone)]
    assert [card["session"]["processes"] for card in cards] == [2, 1]
    (*_, scores), (*_, alone_scores) = (card["selection"]["conditions"] for card in cards)
    assert scores == pytest.approx(alone_scores, rel=0.05)
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(values, second[name]) for name, values in first.items())


def test_a_loss_that_is_not_finite_on_one_process_ends_all(tmp_path: Path) -> None:
    result = run_script(two_cameras_marked(tmp_path), "nan")
    assert result.returncode != 0
    assert result.stderr.count("loss statistics is nan at step 0") >= 2
    assert not (tmp_path / "together.safetensors").exists()


def test_a_process_that_fails_ends_the_others(tmp_path: Path) -> None:
    result = run_script(two_cameras_marked(tmp_path), "crash")
    assert result.returncode != 0 and "rank 1 fails" in result.stderr
    assert not (tmp_path / "together.safetensors").exists()


def test_the_command_runs_under_torchrun_and_speaks_once(tmp_path: Path) -> None:
    table = two_cameras_marked(tmp_path)
    command = ["-m", "noisegen", "train-noise-model", table.name, "-o", "m.safetensors", "--device", "cpu"]
    options = ["--steps", "1", "--batch", "2", "--patch", "64", "-q", "--validate-split", ""]
    result = torchrun(tmp_path, *command, *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["m.safetensors: trained"]
    assert read_checkpoint(tmp_path / "m.safetensors").card["session"]["processes"] == 2


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_ranks_parts_make_up_the_batch_of_one(tmp_path: Path, size: int) -> None:
    pairs = read_pairs(two_cameras_marked(tmp_path))
    sampler = PatchSampler(pairs, patch=64, levels=256, channels=3, balance=True)
    whole = draw(sampler, 3, 7, 5, device="cpu")
    parts = [draw(sampler, 3, 7, 5, device="cpu", ranks=Ranks(rank, size)) for rank in range(size)]
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert all(part.conditions == whole.conditions for part in parts)
    assert torch.equal(torch.cat([part.noisy for part in parts]), whole.noisy)
    for numbers in ("uniform", "normal", "uniform", "alpha"):
        drawn = [getattr(part, numbers)() for part in parts]
        assert torch.equal(torch.cat(drawn), getattr(whole, numbers)())
    assert {type(condition) for condition in whole.conditions} == {Condition}
