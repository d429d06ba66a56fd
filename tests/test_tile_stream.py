"""Datasets streamed to several processes: every tile once, from any format and from a server, or a clear error."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from remote_fixtures import Fault, S3Server, running_server
from synthesis_fixtures import Workplace, invoke, make_workplace
from torch.utils.data import DataLoader

from noisegen import NoisyPair, TileStream, stores
from noisegen.datasets import tile_stream
from noisegen.datasets.built import BuiltDataset
from noisegen.datasets.shard_tiles import ShardSource
from noisegen.datasets.streamed import StreamedDataset
from noisegen.errors import UsageError
from noisegen.stores import RemoteError
from noisegen.synthesis.choices import FORMAT_NAMES
from noisegen.synthesis.layout import DatasetFolder

DOCUMENT = Path(__file__).parents[1] / "docs" / "training-denoisers.md"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("place"), photographs=9)


@pytest.fixture(scope="module")
def dataset(place: Workplace) -> Path:
    """Nine shards of 2 to 8 tiles."""
    assert invoke(*place.arguments(place.root / "dataset", "--rows-per-shard", "1")).exit_code == 0
    return place.root / "dataset"


@pytest.fixture(scope="module")
def divided(place: Workplace) -> Path:
    """Shards with tiles of both splits, of one or the other."""
    options = ["--split", "train:0.5,test:0.5", "--rows-per-shard", "2"]
    assert invoke(*place.arguments(place.root / "divided", *options)).exit_code == 0
    return place.root / "divided"


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def bucket(store: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A new one at a server that refuses nothing yet; copies from it go to `tmp_path`."""
    monkeypatch.setattr(stores, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store.faults = []
    return store.bucket()


@pytest.fixture
def remote(store: S3Server, bucket: str, dataset: Path) -> str:
    """The dataset at a URL."""
    store.put(dataset, bucket, "dataset")
    return f"s3://{bucket}/dataset"


def keys(tiles: Iterator[NoisyPair] | TileStream) -> list[str]:
    return [tile.key for tile in tiles]


def assert_as_built(tiles: list[NoisyPair], built: Path) -> None:
    whole = BuiltDataset.open(built)
    conditions = dict(whole.tiles)
    for tile in tiles:
        noisy, clean = whole.load(tile.key)
        np.testing.assert_array_equal(tile.noisy.permute(1, 2, 0), noisy)
        np.testing.assert_array_equal(tile.clean.permute(1, 2, 0), clean)
        assert (tile.camera, tile.iso) == (conditions[tile.key].camera, conditions[tile.key].iso)


@pytest.mark.parametrize("output_format", FORMAT_NAMES)
def test_every_format_is_streamed_as_it_was_built(dataset: Path, tmp_path: Path, output_format: str) -> None:
    built = tmp_path / "exported"
    assert invoke("export", str(dataset), "-o", str(built), "--format", output_format).exit_code == 0
    tiles = list(TileStream(built, group=2, raw=True))
    assert sorted(tile.key for tile in tiles) == sorted(key for key, _ in BuiltDataset.open(built).tiles)
    assert_as_built(tiles, dataset)


@pytest.mark.parametrize("size", [2, 3])
def test_processes_see_other_tiles_in_equal_numbers_and_anew_in_each_epoch(dataset: Path, size: int) -> None:
    ranks = [TileStream(dataset, rank=rank, world_size=size, group=2) for rank in range(size)]
    epochs = []
    for epoch in range(2):
        for stream in ranks:
            stream.set_epoch(epoch)
        given = [keys(stream) for stream in ranks]
        assert {len(each) for each in given} == {ranks[0].tiles(epoch=epoch)}
        assert max(Counter(key for each in given for key in each).values()) == 1
        epochs.append(given)
    assert epochs[0] != epochs[1]
    # from the middle of an epoch
    ranks[1].set_epoch(1, done=3)
    assert keys(ranks[1]) == epochs[1][1][3:]


def test_the_ranks_are_those_that_torchrun_tells(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert keys(TileStream(dataset)) == keys(TileStream(dataset, rank=2, world_size=3))
    with pytest.raises(UsageError, match="rank 3 is not one of 0 to 2"):
        TileStream(dataset, rank=3)
    with pytest.raises(UsageError, match="group 0"):
        TileStream(dataset, group=0)


@pytest.mark.parametrize("kept", [False, True])
def test_workers_of_a_loader_share_a_process_tiles_and_follow_the_epochs(dataset: Path, kept: bool) -> None:
    loaders = []
    for rank in range(2):
        stream = TileStream(dataset, rank=rank, world_size=2, group=1)
        loaders.append(DataLoader(stream, batch_size=3, num_workers=2, persistent_workers=kept))
    given = []
    for epoch in range(2):
        for loader in loaders:
            loader.dataset.set_epoch(epoch)
        batches = [list(loader) for loader in loaders]
        assert len(batches[0]) == len(batches[1])
        assert batches[0][0].noisy.shape == (3, 3, 64, 64) and batches[0][0].noisy.dtype == torch.float32
        found = [key for each in batches for batch in each for key in batch.key]
        assert len(found) == len(set(found)) == 2 * loaders[0].dataset.tiles(epoch=epoch, workers=2)
        given.append(found)
    assert given[0] != given[1]
    # a training that continues, each worker with what it has not given yet
    loaders[0].dataset.set_epoch(1, done=6)
    rest = [key for batch in loaders[0] for key in batch.key]
    assert rest == [key for batch in batches[0][2:] for key in batch.key]


def test_workers_cannot_continue_where_they_have_not_given_the_same(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = TileStream(dataset)
    stream.set_epoch(0, done=5)
    # asked in a real worker, PyTorch would take ten seconds to end the loader
    monkeypatch.setattr(tile_stream, "get_worker_info", lambda: SimpleNamespace(id=0, num_workers=2))
    with pytest.raises(UsageError, match="5 tiles cannot have come from 2 workers alike"):
        next(iter(stream))


def test_splits_are_streamed_apart(divided: Path) -> None:
    found = {split: keys(TileStream(divided, split=split)) for split in ("train", "test", "", None)}
    assert found[None] == found["train"]
    assert not set(found["train"]) & set(found["test"])
    assert sorted(found["train"] + found["test"]) == sorted(found[""])
    for split in ("train", "test"):
        assert sorted(found[split]) == sorted(key for key, _ in BuiltDataset.open(divided, split).tiles)
    with pytest.raises(UsageError, match="no split 'val'"):
        TileStream(divided, split="val")


@pytest.mark.parametrize("damage", ["cut", "pixels", "missing"])
def test_a_damaged_shard_is_named_with_what_to_do(dataset: Path, tmp_path: Path, damage: str) -> None:
    built = tmp_path / "dataset"
    shutil.copytree(dataset, built)
    stream = TileStream(built)
    tar = built / "shards" / "000004.tar"
    if damage == "missing":
        tar.unlink()
    else:
        data = bytearray(tar.read_bytes())
        data[1000] ^= 255
        tar.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
    with pytest.raises(UsageError, match=r"shard 000004 cannot be read .*run noisegen verify"):
        list(stream)


def test_pixels_that_still_decode_are_compared_with_their_hashes(dataset: Path, tmp_path: Path) -> None:
    built = tmp_path / "dataset"
    export = ["export", str(dataset), "-o", str(built), "--format", "folders"]
    assert invoke(*export).exit_code == 0
    stream = TileStream(built)
    first, second = sorted((built / "lq").glob("00000002-*.png"))[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(UsageError, match=r"shard 000002 cannot be read .*noisy pixels"):
        list(stream)


def test_what_is_no_finished_dataset_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no dataset"):
        TileStream(tmp_path)
    built = tmp_path / "dataset"
    shutil.copytree(dataset, built)
    (built / "dataset.json").unlink()
    with pytest.raises(UsageError, match="the dataset is not finished"):
        TileStream(built)
    with pytest.raises(UsageError, match="too few to stream to 10 readers"):
        TileStream(dataset, world_size=10, rank=0)


def test_from_a_url_each_file_is_fetched_once_whatever_the_server_refuses(
    remote: str, store: S3Server, dataset: Path, tmp_path: Path
) -> None:
    ranks = [TileStream(remote, rank=rank, world_size=2, group=2, raw=True) for rank in range(2)]
    store.requests.clear()
    tiles = [tile for stream in ranks for tile in stream]
    assert len({tile.key for tile in tiles}) == len(tiles) == 2 * ranks[0].tiles()
    assert_as_built(tiles, dataset)
    fetched = Counter(store.made("GET", ".tar") + store.made("GET", "/index/"))
    assert len(fetched) == 18 and set(fetched.values()) == {1}
    assert list(tmp_path.iterdir()) == []
    # the same tiles in the same order, though half of the shards are refused at first
    store.faults = [Fault("GET", f"shards/00000{n}.tar", 2, "500 Internal Server Error") for n in range(4)]
    again = [tile.key for stream in ranks for tile in stream]
    assert again == [tile.key for tile in tiles]
    assert all(fault.count == 0 for fault in store.faults)


def test_from_a_url_few_shards_lie_here_at_a_time(remote: str, tmp_path: Path) -> None:
    most = 0
    for _ in TileStream(remote, group=2):
        most = max(most, len(list(tmp_path.rglob("*.tar"))))
    assert 2 <= most <= 4
    # and none once the loop is left
    tiles = iter(TileStream(remote, group=2))
    next(tiles)
    del tiles
    assert list(tmp_path.iterdir()) == []


def test_from_a_url_a_shard_can_be_read_twice_at_once(remote: str, tmp_path: Path) -> None:
    """As where one epoch ends with it and the next one begins with it."""
    stream = StreamedDataset.open(remote)
    folder = DatasetFolder(tmp_path)
    folder.run_file.write_text(json.dumps(stream.run))
    source = ShardSource(folder, remote, stream.run["config"]["format"], "")
    shard, tiles = folder.shards()[0], int(stream.counts[0])
    first, second = source.open(shard, tiles), source.open(shard, tiles)
    assert len(list(tmp_path.rglob("*.tar"))) == 2
    keys = [first.tile(number).key for number in range(tiles)]
    first.close()
    assert [second.tile(number).key for number in range(tiles)] == keys
    second.close()
    assert not list(tmp_path.rglob("*.tar"))


def test_workers_read_urls_with_connections_of_their_own(remote: str, dataset: Path) -> None:
    """A connection that was made before a worker was forked would wait forever."""
    stream = TileStream(remote)
    found = [
        key for batch in DataLoader(stream, batch_size=2, num_workers=2, timeout=60) for key in batch.key
    ]
    assert len(found) == len(set(found)) == stream.tiles(workers=2)
    assert keys(pickle.loads(pickle.dumps(stream))) == keys(TileStream(dataset))


def test_a_shard_that_cannot_be_had_from_a_url_is_named(remote: str, bucket: str, store: S3Server) -> None:
    stream = TileStream(remote)
    store.faults = [Fault("GET", "shards/000003.tar", 100)]
    with pytest.raises(RemoteError, match=r"shards/000003.tar: failed 7 times"):
        list(stream)
    store.faults = []
    store.client.delete_object(Bucket=bucket, Key="dataset/shards/000005.tar")
    with pytest.raises(UsageError, match=rf"{remote}: shard 000005 cannot be read .*run noisegen verify"):
        list(stream)


def test_of_a_url_with_splits_only_the_wanted_files_are_fetched(
    store: S3Server, bucket: str, divided: Path
) -> None:
    store.put(divided, bucket, "dataset")
    stream = TileStream(f"s3://{bucket}/dataset")
    store.requests.clear()
    assert keys(stream) == keys(TileStream(divided))
    assert not store.made("GET", "splits/test") and store.made("GET", "splits/train")


def test_the_documented_loop_trains(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = DOCUMENT.read_text().split("\n## In your own training loop\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATASET").symlink_to(dataset)
    model = torch.nn.Conv2d(3, 3, 1)
    before = model.weight.detach().clone()
    names = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.1), "epochs": 2}
    exec(code, names)
    assert not torch.equal(model.weight, before)
