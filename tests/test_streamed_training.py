"""`noisegen train-denoiser` on a streamed dataset: each tile once in an epoch, exact shares, exact continuation."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from denoiser_training_fixtures import write_pairs
from remote_fixtures import S3Server, running_server
from synthesis_fixtures import invoke, make_workplace, tiny_model
from training_fixtures import assert_same_state, assert_same_weights

from noisegen.cli import main
from noisegen.datasets.built import BuiltDataset
from noisegen.denoising import trainer
from noisegen.denoising.sources import open_source, parse_source
from noisegen.denoising.stream import PatchBatch, PatchStream
from noisegen.errors import UsageError
from noisegen.models.checkpoint import read_checkpoint
from noisegen.training.distributed import Ranks

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SMALL = ["--layers", "4", "--width", "6", "--device", "cpu", "-q"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight shards of 2 to 8 tiles of 64 x 64."""
    place = make_workplace(tmp_path_factory.mktemp("place"), photographs=8)
    assert invoke(*place.arguments(place.root / "dataset", "--rows-per-shard", "1")).exit_code == 0
    return place.root / "dataset"


def stream(*texts: str, batch: int = 4, patch: int = 64, ranks: Ranks | None = None) -> PatchStream:
    sources = [open_source(parse_source(text), split=None, noise_model=tiny_model()) for text in texts]
    return PatchStream(sources, patch=patch, batch=batch, seed=0, balance=True, ranks=ranks)


def content(pixels: np.ndarray) -> bytes:
    """The same for a tile in whatever orientation."""
    return bytes(np.sort(pixels.reshape(-1)))


def same(one: PatchBatch, other: PatchBatch) -> bool:
    return np.array_equal(one.noisy, other.noisy) and np.array_equal(one.clean, other.clean)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def served(dataset: Path) -> Iterator[tuple[S3Server, str]]:
    """A server that has the dataset, and its URL."""
    with running_server() as store:
        bucket = store.bucket()
        store.put(dataset, bucket, "dataset")
        yield store, f"s3://{bucket}/dataset"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train-denoiser", *arguments])


@pytest.mark.parametrize("size", [1, 2])
def test_every_tile_comes_once_in_an_epoch_to_one_process(dataset: Path, size: int) -> None:
    whole = BuiltDataset.open(dataset)
    tiles = {content(whole.load(key)[0]) for key, _ in whole.tiles}
    patches = [stream(f"stream:{dataset}", batch=2 * size, ranks=Ranks(r, size)) for r in range(size)]
    steps = len(tiles) // size // 2 - 4
    seen = [content(p) for one in patches for b in one.batches(0, steps, workers=2) for p in b.noisy]
    assert set(seen) <= tiles and len(set(seen)) == len(seen) == 2 * size * steps
    # the next epoch begins with other ones
    later = [content(p) for one in patches for b in one.batches(steps, 2 * steps, workers=2) for p in b.noisy]
    assert later != seen and max(Counter(later + seen).values()) <= 3
    if size == 1:
        third = [content(patch) for step in range(len(tiles)) for patch in patches[0].batch(step).noisy]
        assert set(Counter(third).values()) == {2}


def test_a_step_does_not_depend_on_where_the_training_began(dataset: Path, tmp_path: Path) -> None:
    patches = stream(f"stream:{dataset}:2", f"{write_pairs(tmp_path)}:1", patch=32)
    batches = list(patches.batches(0, 30, workers=3))
    for begin in (3, 17, 29):
        assert same(next(iter(patches.batches(begin, 30, workers=1))), batches[begin])
        assert same(patches.batch(begin), batches[begin])
    assert not any(same(one, other) for one, other in pairwise(batches))


def test_a_weight_is_the_exact_share_of_streamed_rows(dataset: Path, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path)
    patches = stream(f"stream:{dataset}:0.3", f"clean:{pairs}:0.7", patch=16)
    streamed = [4 - len(batch.synthetic) for batch in patches.batches(0, 40, workers=2)]
    assert sum(streamed) == 48 and set(streamed) == {1, 2}
    assert all(len(batch.conditions) == len(batch.synthetic) for batch in patches.batches(0, 4, workers=1))


def test_both_sides_of_a_streamed_tile_are_cut_and_turned_alike(dataset: Path) -> None:
    whole = BuiltDataset.open(dataset)
    noise = {content(clean): noisy for noisy, clean in (whole.load(key) for key, _ in whole.tiles)}
    batch = stream(f"stream:{dataset}", batch=20).batch(0)
    for noisy, clean in zip(batch.noisy, batch.clean, strict=True):
        assert content(noise[content(clean)]) == content(noisy)
        assert np.corrcoef(noisy.ravel(), clean.ravel())[0, 1] > 0.5
    # a random place of the tile for smaller patches, in all orientations
    corners = {
        patch[:8, :8].tobytes() for patch in stream(f"stream:{dataset}", patch=16, batch=60).batch(0).clean
    }
    assert len(corners) > 50


def test_what_cannot_be_streamed_is_refused(dataset: Path, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path)
    with pytest.raises(UsageError, match="2 datasets are to be streamed, which one at most can be"):
        stream(f"stream:{dataset}", f"stream:{dataset}")
    with pytest.raises(UsageError, match="a batch of 4 has no equal parts for 3 processes"):
        stream(f"stream:{dataset}", ranks=Ranks(0, 3))
    with pytest.raises(UsageError, match="8 shards with tiles, too few to stream to 9 readers"):
        stream(f"stream:{dataset}", batch=9, ranks=Ranks(0, 9))
    with pytest.raises(UsageError, match="64x64, smaller than the 65 pixel patch"):
        stream(f"stream:{dataset}", patch=65)
    with pytest.raises(UsageError, match="stream: takes the tiles of a built dataset"):
        parse_source(f"stream:{pairs}")
    with pytest.raises(UsageError, match="clean: takes the clean pictures of a table of pairs"):
        parse_source("clean:s3://bucket/dataset")


def test_a_dataset_at_a_url_is_streamed_into_a_training(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with served(dataset) as (store, url):
        output = tmp_path / "denoiser.safetensors"
        options = ["-o", str(output), "--steps", "2", "--patch", "16", *SMALL]
        result = run(f"{url}:2", str(write_pairs(tmp_path)), *options, "--validate-split", "")
        assert result.exit_code == 0, result.output
        source = read_checkpoint(output).card["sources"][0]
        assert (source["kind"], source["name"], source["weight"]) == ("stream", "dataset", 2)
        assert source["pictures"] == len(BuiltDataset.open(dataset).tiles)
        assert 0 < len(store.made("GET", ".tar")) <= 8
        # Ctrl-C leaves no copies of shards here
        monkeypatch.setattr(trainer._Training, "step", interrupted)
        stopped = run(url, *options, "-o", str(tmp_path / "other.safetensors"))
        assert stopped.exit_code == 130 and not list(tmp_path.glob("noisegen-*"))
        absent = run(f"{url}-absent", *options)
        assert absent.exit_code == 2 and "holds no dataset of noisegen" in absent.output


TRAINED = """
import os, signal, sys, time
import numpy as np
from noisegen.cli import main
from noisegen.denoising import trainer
trainer.SAVE_EVERY = 2
step, killed = trainer._Training.step, sys.argv.pop(1) == "killed"
def noted(self, batch):
    if killed and batch.step == 5:
        if self.ranks.leads:
            os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)
    with open(f"rank{self.ranks.rank}.txt", "a") as file:
        for patch in batch.clean:
            print(batch.step, bytes(np.sort(patch.reshape(-1))).hex()[::97], file=file)
    return step(self, batch)
trainer._Training.step = noted
main()
"""


def train_two(folder: Path, dataset: Path, how: str) -> subprocess.CompletedProcess[str]:
    """Six steps in two processes; `how` is "killed" to have torchrun get SIGTERM in the last one."""
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(TRAINED)
    paths = [str(Path(__file__).parent), str(Path(trainer.__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    options = ["-o", "denoiser.safetensors", "--steps", "6", "--batch", "4", "--patch", "64", *SMALL]
    command = [*TORCHRUN, "script.py", how, "train-denoiser", f"stream:{dataset}", *options]
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def test_two_processes_have_tiles_of_their_own_and_continue_exactly_after_sigterm(
    dataset: Path, tmp_path: Path
) -> None:
    assert train_two(tmp_path / "killed", dataset, "killed").returncode != 0
    assert not (tmp_path / "killed" / "denoiser.safetensors").exists()
    for name in ("killed", "whole"):
        result = train_two(tmp_path / name, dataset, "not killed")
        assert result.returncode == 0, result.stderr
    killed, whole = (tmp_path / name / "denoiser.safetensors" for name in ("killed", "whole"))
    assert_same_weights(killed, whole)
    assert_same_state(
        *(path.with_name(f"{path.name}.train") / "state.safetensors" for path in (killed, whole))
    )
    seen = [(tmp_path / "whole" / f"rank{rank}.txt").read_text().splitlines() for rank in range(2)]
    tiles = [line.split()[1] for lines in seen for line in lines]
    assert len(set(tiles)) == len(tiles) == 24
    # steps 0 to 4, then from the state after step 3 on
    again = (tmp_path / "killed" / "rank0.txt").read_text().splitlines()
    assert again == seen[0][:10] + seen[0][8:]
