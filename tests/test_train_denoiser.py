"""Denoisers learn from every kind of source, resume to the same bytes, and stop with reasons."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from denoiser_training_fixtures import tiny_recipe, write_manifest, write_pairs
from safetensors.torch import load_file
from synthesis_fixtures import invoke, make_workplace, save_tiny_model, tiny_model
from training_fixtures import assert_same_state, assert_same_weights

from noisegen.cli import main
from noisegen.datasets.pairs import load_pair, read_pairs
from noisegen.denoising import load_denoiser, trainer
from noisegen.denoising.config import RECIPES
from noisegen.denoising.dncnn import DnCNN
from noisegen.denoising.inference import Denoiser
from noisegen.denoising.run import train_denoiser
from noisegen.denoising.sources import open_source, parse_source
from noisegen.denoising.steps import Optimisation, learning_rate
from noisegen.denoising.stream import PatchStream
from noisegen.errors import NoisegenError, UsageError
from noisegen.images import read_image
from noisegen.models.checkpoint import read_checkpoint
from noisegen.training.distributed import Ranks

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SMALL = ["--layers", "4", "--width", "6", "--patch", "16", "--device", "cpu", "-q"]


@pytest.fixture(autouse=True)
def save_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVE_EVERY", 2)
    monkeypatch.setattr(trainer, "LOG_EVERY", 1)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train-denoiser", *arguments])


def psnr(picture: np.ndarray, clean: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(picture.astype(float) - clean).mean()))


def optimisation(noise_model: object = None, **changes: object) -> Optimisation:
    config = tiny_recipe(**changes)
    torch.manual_seed(0)
    return Optimisation(
        DnCNN(3, 4, 6),
        config,
        6,
        noise_model=noise_model,  # type: ignore[arg-type]
        device="cpu",
        mixed_precision=False,
        ranks=Ranks(),
    )


def test_a_trained_denoiser_takes_noise_off_pictures_it_has_not_seen(tmp_path: Path) -> None:
    table, output = write_pairs(tmp_path, std=25), tmp_path / "denoiser.safetensors"
    config = tiny_recipe(steps=250, width=10, batch=8, patch=24, learning_rate=5e-3, validate_every=125)
    assert train_denoiser([str(table)], output, config, quiet=True)
    denoiser = Denoiser(load_denoiser(output))
    gains = []
    for pair in read_pairs(table, split="val"):
        noisy, clean = load_pair(pair)
        gains.append(psnr(denoiser.denoise(noisy), clean) - psnr(noisy, clean))
    assert min(gains) > 3
    selection = read_checkpoint(output).card["selection"]
    assert selection["kept"] == "best" and [row[0] for row in selection["conditions"]] == ["N6", "S6"]
    assert read_image(Path(f"{output}.curves.png")).std() > 5


def test_an_untrained_denoiser_of_the_compact_recipe_changes_nothing(tmp_path: Path) -> None:
    table, output = write_pairs(tmp_path), tmp_path / "denoiser.safetensors"
    config = tiny_recipe(steps=1, learning_rate=1e-12)
    train_denoiser([str(table)], output, config, quiet=True)
    picture = read_image(tmp_path / "one_val_noisy.png")
    np.testing.assert_array_equal(Denoiser(load_denoiser(output)).denoise(picture), picture)


def test_every_kind_of_source_trains_together(tmp_path: Path) -> None:
    place = make_workplace(tmp_path, photographs=4)
    assert invoke(*place.arguments(tmp_path / "built")).exit_code == 0
    pairs = write_pairs(tmp_path)
    manifest = write_manifest(tmp_path)
    output = tmp_path / "denoiser.safetensors"
    sources = [str(tmp_path / "built"), f"{pairs}:0.5", f"clean:{pairs}", f"{manifest}:2"]
    command = [*sources, "-o", str(output), "--noise-model", str(place.model), "--steps", "2", *SMALL]
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert result.output == f"{output}: trained\n"
    card = read_checkpoint(output).card
    assert [source["kind"] for source in card["sources"]] == ["dataset", "pairs", "clean pairs", "manifest"]
    assert card["validation_pairs"]["split"] == "val" and len(card["noise_model"]["sha256"]) == 64
    assert "already trained" in run(*command).output
    changed = run(*command[: -len(SMALL)], *SMALL, "--seed", "1")
    assert changed.exit_code == 2 and "other training data or another recipe" in changed.output


@pytest.mark.parametrize("name", ["awgn", "poisson-gaussian", "heteroscedastic"])
def test_classical_noise_is_fitted_on_real_pairs(tmp_path: Path, name: str) -> None:
    table, output = write_pairs(tmp_path, std=9), tmp_path / "denoiser.safetensors"
    result = run(f"clean:{table}", "-o", str(output), "--noise-model", name, "--steps", "2", *SMALL)
    assert result.exit_code == 0, result.output
    assert read_checkpoint(output).card["noise_model"]["fit_on"] == "pairs.csv"


def test_a_classical_model_needs_pairs_to_be_fitted_on(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    result = run(str(manifest), "-o", str(tmp_path / "d.safetensors"), "--noise-model", "awgn", *SMALL)
    assert result.exit_code == 2 and "--fit-on" in result.output


def test_noise_is_new_at_each_step_and_the_same_on_any_number_of_processes(tmp_path: Path) -> None:
    model, table = tiny_model(), write_pairs(tmp_path)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    source = open_source(parse_source(f"clean:{table}"), split=None, noise_model=model)
    settings = {"patch": 16, "batch": 4, "seed": 0, "balance": True}
    stream = PatchStream([source], **settings)  # type: ignore[arg-type]
    alone = optimisation(model, batch=4)
    noisy, clean = alone.pairs(stream.batch(3))
    assert noisy.is_contiguous(memory_format=torch.channels_last)
    assert 0.5 < float((noisy - clean).std()) * 256 < 90
    again, _ = optimisation(model, batch=4).pairs(stream.batch(3))
    assert torch.equal(noisy, again)
    parts = []
    for rank in range(2):
        ranks = Ranks(rank, 2)
        part = PatchStream([source], ranks=ranks, **settings)  # type: ignore[arg-type]
        one = optimisation(model, batch=4)
        one.ranks = ranks
        parts.append(one.pairs(part.batch(3))[0])
    assert torch.equal(torch.cat(parts), noisy)
    # other noise on the same patches
    other, _ = alone.pairs(replace(stream.batch(3), step=4))
    assert not torch.equal(other, noisy)
    # frozen
    assert not model.training
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


KILLED = """
import os, signal, sys
from pathlib import Path
from denoiser_training_fixtures import tiny_recipe
from noisegen.denoising import trainer
from noisegen.denoising.run import train_denoiser
trainer.SAVE_EVERY, trainer.LOG_EVERY = 2, 1
step = trainer._Training.step
def kill(self, batch):
    if batch.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch)
trainer._Training.step = kill
folder = Path(sys.argv[1])
train_denoiser([str(folder / "pairs.csv"), f"clean:{folder / 'pairs.csv'}"], folder / "killed.safetensors",
    tiny_recipe(), noise_model=str(folder / "model.safetensors"), quiet=True)
"""


def test_a_killed_training_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    table = write_pairs(tmp_path)
    model = save_tiny_model(tmp_path / "model.safetensors")
    sources = [str(table), f"clean:{table}"]
    paths = [str(Path(__file__).parent), str(Path(trainer.__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    for name in ("killed", "whole"):
        train_denoiser(
            sources, tmp_path / f"{name}.safetensors", tiny_recipe(), noise_model=str(model), quiet=True
        )
    killed, whole = (tmp_path / f"{name}.safetensors" for name in ("killed", "whole"))
    assert_same_weights(killed, whole)
    states = [path.with_name(f"{path.name}.train") for path in (killed, whole)]
    assert_same_state(*(state / "state.safetensors" for state in states))
    assert (states[0] / "log.csv").read_text() == (states[1] / "log.csv").read_text()


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "LOG_EVERY", 100)
    measure = Optimisation.measure

    def broken(self: Optimisation, batch: object) -> torch.Tensor:
        value = measure(self, batch)  # type: ignore[arg-type]
        return value * float("nan") if batch.step == 3 else value  # type: ignore[attr-defined]

    monkeypatch.setattr(Optimisation, "measure", broken)
    output = tmp_path / "denoiser.safetensors"
    with pytest.raises(NoisegenError, match="NaN or infinite at step 3"):
        train_denoiser([str(write_pairs(tmp_path))], output, tiny_recipe(validate_every=100), quiet=True)
    assert not output.exists()
    assert load_file(f"{output}.train/state.safetensors")


def test_out_of_memory_says_which_batch_would_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Optimisation.measure

    def cramped(self: Optimisation, batch: object) -> torch.Tensor:
        if len(batch.clean) > 3:  # type: ignore[attr-defined]
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return measure(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Optimisation, "measure", cramped)
    output, table = tmp_path / "denoiser.safetensors", str(write_pairs(tmp_path))
    with pytest.raises(NoisegenError, match=r"out of memory with 11 patches .* --batch 2 fits"):
        train_denoiser([table], output, tiny_recipe(batch=11), quiet=True)
    monkeypatch.setattr(Optimisation, "measure", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(NoisegenError, match="not even one patch fits"):
        train_denoiser([table], output, tiny_recipe(), quiet=True)


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    table, model = write_pairs(tmp_path), save_tiny_model(tmp_path / "model.safetensors")
    environment = os.environ | {
        "PYTHONPATH": str(Path(trainer.__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
    }
    options = ["--steps", "4", "--batch", "4", "--noise-model", str(model), *SMALL]
    sources = [str(table), f"clean:{table}"]
    together, alone = (tmp_path / f"{name}.safetensors" for name in ("together", "alone"))
    command = [*TORCHRUN, "-m", "noisegen", "train-denoiser", *sources, "-o", str(together), *options]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{together}: trained\n"
    assert run(*sources, "-o", str(alone), *options).exit_code == 0
    cards = [read_checkpoint(path).card for path in (together, alone)]
    assert [card["session"]["processes"] for card in cards] == [2, 1]
    # Batch norm sees half a batch in each process, so the weights are near, not equal.
    assert cards[0]["selection"]["psnr"] == pytest.approx(cards[1]["selection"]["psnr"], abs=0.5)


def test_pictures_of_12_bits(tmp_path: Path) -> None:
    table, output = write_pairs(tmp_path, std=90, bits=12), tmp_path / "denoiser.safetensors"
    result = run(str(table), "-o", str(output), "--steps", "2", *SMALL)
    assert result.exit_code == 2 and "--bit-depth" in result.output
    assert run(str(table), "-o", str(output), "--steps", "2", "--bit-depth", "12", *SMALL).exit_code == 0
    assert load_denoiser(output).bit_depth == 12


def test_pictures_and_noise_model_must_be_of_one_kind(tmp_path: Path) -> None:
    table = write_pairs(tmp_path)
    model = save_tiny_model(tmp_path / "grey.safetensors", channels=1)
    output = tmp_path / "denoiser.safetensors"
    with pytest.raises(UsageError, match="do not fit together"):
        train_denoiser([f"clean:{table}"], output, tiny_recipe(), noise_model=str(model), quiet=True)


@pytest.mark.parametrize("schedule", ["cosine", "halve"])
def test_the_learning_rate_follows_its_schedule(schedule: str) -> None:
    config = tiny_recipe(schedule=schedule, learning_rate=1e-4)
    rates = [learning_rate(config, step, 1000) for step in range(1000)]
    if schedule == "halve":
        # section IV-A: halved every 10 of 40 epochs
        assert [rates[step] for step in (0, 249, 250, 500, 999)] == pytest.approx(
            [1e-4, 1e-4, 5e-5, 2.5e-5, 1.25e-5]
        )
    else:
        assert rates[0] < rates[19] == pytest.approx(1e-4) and max(rates) <= 1e-4
        assert rates[20:] == sorted(rates[20:], reverse=True) and rates[-1] == pytest.approx(2e-6, rel=0.01)


def test_the_paper_recipe_is_the_papers() -> None:
    paper = RECIPES["paper"]
    assert sum(p.numel() for p in DnCNN(3, paper.layers, paper.width).parameters()) == 596_419
    assert (paper.batch, paper.patch, paper.epochs, paper.learning_rate) == (128, 96, 40, 1e-4)
    assert not paper.identity and paper.ema == 0
