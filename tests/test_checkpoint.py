"""A checkpoint file gives back what was put in, and anything else is refused by name and never executed."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from nm_flowgan_fixtures import A400, VOCABULARY, inputs, tiny_model
from safetensors.torch import load_file, save_file

from noisegen.cli import main
from noisegen.denoising import load_denoiser
from noisegen.denoising.dncnn import DnCNN
from noisegen.errors import UsageError
from noisegen.models import checkpoint_of_model, checkpoint_sha256, load_noise_model
from noisegen.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from noisegen.models.official import OFFICIAL_CAMERAS, OFFICIAL_ISOS, import_official

PARITY = Path(__file__).parents[2] / "shared" / "parity"
CARD = {"licence": "for tests only", "scores": {"kld_nm": 0.03}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good checkpoint."""
    target = tmp_path / "folder" / "model.safetensors"
    write_checkpoint(target, checkpoint_of_model("nm-flowgan", tiny_model("hybrid"), CARD))
    return target


def rewrite_header(path: Path, **changes: object) -> None:
    """Replaces fields of a checkpoint's description."""
    checkpoint = read_checkpoint(path)
    fields = {
        "format": "noisegen-checkpoint",
        "version": 1,
        "kind": checkpoint.kind,
        "config": dict(checkpoint.config),
        "card": {},
        "vocabulary": {"cameras": ["A", "B"], "isos": [100, 400, 1600], "known": [["A", 100], ["B", 400]]},
    }
    save_file(dict(checkpoint.tensors), path, {"noisegen": json.dumps(fields | changes)})


@pytest.mark.parametrize("preset", ["paper", "compact", "hybrid"])
@pytest.mark.parametrize("critic", [False, True])
def test_a_model_comes_back_as_it_was(tmp_path: Path, preset: str, critic: bool) -> None:
    model = tiny_model(preset, critic=critic, channels=1, bit_depth=12)
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, checkpoint_of_model("nm-flowgan", model, CARD))
    assert read_checkpoint(path).card == CARD
    loaded = load_noise_model(path)
    assert (loaded.sizes, loaded.vocabulary) == (model.sizes, VOCABULARY)
    assert (loaded.critic is not None) == critic and not loaded.training
    assert {p.device.type for p in loaded.parameters()} == {"cpu"}
    before, after = model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(values, after[name]) for name, values in before.items())
    assert all(values.dtype == after[name].dtype for name, values in before.items())
    clean, noise = inputs(model, 20, 24)
    assert torch.equal(loaded.sample(clean, [A400], noise=noise), model.sample(clean, [A400], noise=noise))


def test_loading_leaves_the_global_random_stream_alone(path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_noise_model(path)
    assert torch.equal(torch.rand(3), expected)


def test_equal_models_make_equal_files_and_leave_no_other(path: Path) -> None:
    again = path.with_name("again.safetensors")
    write_checkpoint(again, checkpoint_of_model("nm-flowgan", tiny_model("hybrid"), CARD))
    assert again.read_bytes() == path.read_bytes()
    assert checkpoint_sha256(again) == checkpoint_sha256(path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["again.safetensors", "model.safetensors"]


def test_half_precision_weights_load_as_float32(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    halves = {name: t.half() if t.is_floating_point() else t for name, t in checkpoint.tensors.items()}
    write_checkpoint(path, replace(checkpoint, tensors=halves))
    assert {p.dtype for p in load_noise_model(path).parameters()} == {torch.float32}


def test_a_denoiser_comes_back_as_it_was(tmp_path: Path) -> None:
    denoiser = DnCNN(3, 4, 6).eval()
    path = tmp_path / "denoiser.safetensors"
    config = {"channels": 3, "layers": 4, "width": 6, "bit_depth": 8}
    write_checkpoint(path, Checkpoint("dncnn", config, denoiser.state_dict()))
    noisy = torch.rand(1, 3, 9, 11)
    assert torch.equal(load_denoiser(path)(noisy), denoiser(noisy))
    with pytest.raises(UsageError, match="holds a dncnn, not a noise model"):
        load_noise_model(path)
    write_checkpoint(path, Checkpoint("dncnn", config | {"width": 7}, denoiser.state_dict()))
    with pytest.raises(UsageError, match="do not fit the stated architecture"):
        load_denoiser(path)


def test_a_noise_model_is_no_denoiser(path: Path) -> None:
    with pytest.raises(UsageError, match="holds a nm-flowgan, not a denoiser"):
        load_denoiser(path)


def refused(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(UsageError) as caught:
        load_noise_model(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none.safetensors")
    assert "does not exist" in refused(tmp_path)


class Payload:
    """Unpickling this creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["pickle", "torch", "torch-legacy"])
def test_a_pickle_is_refused_and_not_executed(tmp_path: Path, kind: str) -> None:
    marker, path = tmp_path / "executed", tmp_path / "model.pth"
    content = {"model_weight": {"generator": Payload(marker)}}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")
    assert "is not a noisegen checkpoint" in refused(path)
    posing = path.with_suffix(".safetensors")
    posing.write_bytes(path.read_bytes())
    assert "is not a noisegen checkpoint" in refused(posing)
    with pytest.raises(UsageError, match="is not a PyTorch file of plain weights") as caught:
        import_official(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    output = tmp_path / "out.safetensors"
    result = CliRunner().invoke(main, ["import-checkpoint", str(path), "-o", str(output)])
    assert result.exit_code == 2 and str(path) in result.output
    assert not output.exists()
    assert not marker.exists()


def test_a_safetensors_file_without_description_is_refused(path: Path) -> None:
    save_file(load_file(path), path)
    assert "header is missing" in refused(path)
    save_file(load_file(path), path, {"noisegen": "{"})
    refused(path)
    save_file(load_file(path), path, {"noisegen": '{"format": "other"}'})
    assert "header is missing" in refused(path)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
    assert "is not a noisegen checkpoint" in refused(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_read_nor_written(path: Path, value: float) -> None:
    checkpoint = read_checkpoint(path)
    good = path.read_bytes()
    tensors = {name: values.clone() for name, values in checkpoint.tensors.items()}
    tensors["generator.last.weight"][0, 0] = value
    with pytest.raises(UsageError, match=r"not written: weight generator\.last\.weight"):
        write_checkpoint(path, replace(checkpoint, tensors=tensors))
    assert path.read_bytes() == good
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata)
    assert "weight generator.last.weight holds values that are not finite" in refused(path)


def test_weights_of_other_shapes_or_names_are_refused(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    tensors = dict(checkpoint.tensors)
    tensors["generator.last.weight"] = torch.zeros(3, 5, 1, 1)
    write_checkpoint(path, replace(checkpoint, tensors=tensors))
    assert "generator.last.weight" in refused(path)
    tensors = dict(checkpoint.tensors)
    tensors["surplus"] = tensors.pop("flow.layers.0.body.0.weight")
    write_checkpoint(path, replace(checkpoint, tensors=tensors))
    message = refused(path)
    assert "surplus" in message and "flow.layers.0.body.0.weight" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2; this noisegen reads 1"),
        ({"kind": "gan"}, "holds a gan"),
        ({"config": {"channels": 3}}, "does not fit this version"),
        ({"config": [1, 2]}, "damaged description"),
        ({"vocabulary": None}, "lists no cameras"),
        ({"vocabulary": {"cameras": ["A"], "isos": [100], "known": []}}, "damaged description"),
        ({"vocabulary": {"cameras": ["A"], "isos": ["100"], "known": [["A", "100"]]}}, "damaged description"),
        ({"vocabulary": {"cameras": ["A"]}}, "damaged description"),
        ({"vocabulary": {"cameras": ["A"], "isos": [100], "known": [["A", 100]]}}, "do not fit"),
        ({"vocabulary": {}}, "damaged description"),
        ({"card": "none"}, "damaged description"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    path: Path, changes: dict[str, object], message: str
) -> None:
    rewrite_header(path, **changes)
    assert message in refused(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channels", 2),
        ("bit_depth", "8"),
        ("unet_width", 10**7),
        ("unet_width", -1),
        ("signal_widths", 3),
        ("flow_blocks", 2**62),
    ],
)
def test_sizes_that_do_not_fit_are_refused_at_no_cost(path: Path, field: str, value: object) -> None:
    rewrite_header(path, config=dict(read_checkpoint(path).config) | {field: value})
    assert "do not fit the stated architecture" in refused(path)


def test_a_description_of_absurd_depth_is_refused(path: Path) -> None:
    save_file(load_file(path), path, metadata={"noisegen": "[" * 100_000})
    assert "not a noisegen checkpoint" in refused(path)


def test_a_place_that_cannot_be_written_is_a_clear_error(path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_checkpoint(path / "model.safetensors", read_checkpoint(path))
    with pytest.raises(UsageError, match="cannot be written"):
        write_checkpoint(path.parent, read_checkpoint(path))


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"weights": {}},
        {"model_weight": {"generator": {}}},
        {"model_weight": {"generator": {"bijectors.3.log_scale": torch.zeros(25)}}},
        {"model_weight": {"generator": {"bijectors.3.log_scale": torch.zeros(12, 3)}}},
        {"model_weight": {"generator": {"bijectors.3.log_scale": "text"}}},
        {"model_weight": {"generator": 5}},
        {"model_weight": {"denoiser": {"noise_model.x": torch.zeros(2)}}},
        {"model_weight": {"denoiser": {"denoiser.dncnn.0.weight": torch.zeros(2)}}},
    ],
)
def test_a_pth_file_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(UsageError) as caught:
        import_official(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", [b"", b"abc", b"\x80\x02.", b"PK\x03\x04", b"\x80\x04K\x05."])
def test_bytes_that_are_no_pth_file_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not a PyTorch file of plain weights"):
        import_official(path)


@pytest.mark.skipif(not PARITY.is_dir(), reason="golden arrays (../shared/parity) are not here")
def test_the_authors_file_is_imported_by_the_command(tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    source = PARITY / "noise_modeler_small.pth"
    result = CliRunner().invoke(main, ["import-checkpoint", str(source), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "cameras IP, GP, S6, N6, G4; ISO 100, 400, 800, 1600, 3200" in result.output
    model = load_noise_model(output)
    assert (model.vocabulary.cameras, model.vocabulary.isos) == (OFFICIAL_CAMERAS, OFFICIAL_ISOS)
    assert model.critic is not None


def test_reading_a_model_does_not_load_the_compiler_of_pytorch() -> None:
    """It takes seconds, which each command would begin with; some operations on the "meta" device need it."""
    code = (
        "import sys\n"
        "from noisegen.models import load_noise_model, prepare_for_synthesis\n"
        "prepare_for_synthesis(load_noise_model('default'), device='cpu', precision='float32')\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
