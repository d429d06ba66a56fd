"""Processes started by torchrun train the model that one process would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from training_fixtures import recipe, shrink, two_cameras_marked

from noisegen.cli import main
from noisegen.datasets.pairs import read_pairs
from noisegen.fitting import trainer
from noisegen.fitting.draws import draw
from noisegen.fitting.patches import PatchSampler
from noisegen.models import Randomness, load_noise_model
from noisegen.models.checkpoint import read_checkpoint
from noisegen.models.nm_flowgan.recipes import RECIPES
from noisegen.training.distributed import Ranks

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
OPTIONS = ["--batch", "5", "--validate-every", "2", "--keep", "last", "-q", "--device", "cpu"]

SCRIPT = """
import atexit
import os
import sys
from pathlib import Path
import pytest
from safetensors.torch import save_file
from training_fixtures import shrink
import test_distributed_training
from noisegen import cli
from noisegen.errors import NoisegenError
from noisegen.fitting import trainer
from noisegen.models.nm_flowgan import learner

patch = pytest.MonkeyPatch()
shrink(patch)
test_distributed_training.use_every_loss(patch)
fault, arguments = sys.argv[1], sys.argv[2:]
train = trainer.train_model
def keep(*args, ranks, **options):
    if fault == "crash" and ranks.rank == 1:
        raise RuntimeError("rank 1 fails")
    trained = train(*args, ranks=ranks, **options)
    weights = {name: values.contiguous() for name, values in trained.model.state_dict().items()}
    save_file(weights, f"rank{ranks.rank}.safetensors")
    # Once more, with a loss that is not finite on one rank.
    if ranks.rank == 1:
        distance = learner.statistics_distance
        learner.statistics_distance = lambda fake, real, **options: distance(fake, real, **options) * float("nan")
    kind, pairs, config, work = args
    with pytest.raises(NoisegenError) as error:
        train(kind, pairs, config, work.with_name("again"), ranks=ranks, **options)
    Path(f"rank{ranks.rank}.txt").write_text(str(error.value))
    return trained
def threads():
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    Path(f"rank{os.environ['RANK']}.threads").write_text("".join(names))
atexit.register(threads)
trainer.train_model = keep
cli.main(arguments)
"""


def use_every_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paper recipe with all losses; its condition encoder has batch norm, which has to see the whole batch."""
    changes = {"adversarial_from": 2, "statistics": 1.0, "quantiles": 1.0, "ema": 0.9, "generator_every": 1}
    monkeypatch.setitem(RECIPES, "paper", recipe("paper", **changes))


def torchrun(table: Path, fault: str = "none") -> subprocess.CompletedProcess[str]:
    """The command in two processes, with a fault in the second."""
    script = table.with_name("script.py")
    script.write_text(SCRIPT)
    paths = [str(Path(__file__).parent), str(Path(trainer.__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    training = ["train-noise-model", table.name, "-o", "together.safetensors", "--recipe", "paper", *OPTIONS]
    command = [*TORCHRUN, str(script), fault, *training]
    return subprocess.run(
        command, env=environment, cwd=table.parent, capture_output=True, text=True, check=False, timeout=300
    )


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


def test_two_processes_train_what_one_does_and_stop_together_at_a_loss_that_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = two_cameras_marked(tmp_path)
    result = torchrun(table)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["together.safetensors: trained"]
    # threads of the process group that outlive it abort the process now and then
    for rank in (0, 1):
        assert "gloo" not in (tmp_path / f"rank{rank}.threads").read_text()
    shrink(monkeypatch)
    use_every_loss(monkeypatch)
    together, alone = (tmp_path / f"{name}.safetensors" for name in ("together", "alone"))
    command = ["train-noise-model", str(table), "-o", str(alone), "--recipe", "paper", *OPTIONS]
    assert CliRunner().invoke(main, command).exit_code == 0
    # Weights are not compared: Adam makes a step of rounding errors where a gradient is zero, as that of a
    # bias before a norm is. What the model does is the same but for a pixel that is rounded the other way; a
    # generator trained at a rate 10 % higher differs by 0.017.
    assert (noisy_picture(together) - noisy_picture(alone)).abs().mean() < 5e-4
    cards = [read_checkpoint(path).card for path in (together, alone)]
    assert [card["session"]["processes"] for card in cards] == [2, 1]
    assert cards[0]["recipe"] == cards[1]["recipe"]
    for row, expected in zip(*(card["selection"]["conditions"] for card in cards), strict=True):
        assert row[:2] == expected[:2] and row[2:] == pytest.approx(expected[2:], rel=0.05)
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(values, second[name]) for name, values in first.items())
    for rank in (0, 1):
        assert "loss statistics is nan at step 0" in (tmp_path / f"rank{rank}.txt").read_text()


def test_a_process_that_fails_ends_the_others(tmp_path: Path) -> None:
    result = torchrun(two_cameras_marked(tmp_path), "crash")
    assert result.returncode != 0 and "rank 1 fails" in result.stderr
    assert not (tmp_path / "together.safetensors").exists()


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
