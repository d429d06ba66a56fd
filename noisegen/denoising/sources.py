"""What a denoiser is trained on: real pairs, built datasets, or clean pictures that get fresh noise at each step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisegen.conditions import Condition
from noisegen.datasets.built import BuiltDataset, splits_of_built
from noisegen.datasets.pairs import Pair, file_sha256, read_pairs, splits_of
from noisegen.datasets.streamed import StreamedDataset
from noisegen.errors import InputError, UsageError
from noisegen.images import ImageInfo, probe, read_image
from noisegen.manifest import BadRow, Manifest
from noisegen.models.protocol import NoiseModel
from noisegen.models.references import WithPool, resolve_condition
from noisegen.remote import as_place
from noisegen.suggestions import did_you_mean_path

__all__ = ["Source", "SourceSpec", "TrainingPicture", "kinds_of", "open_source", "parse_source"]

TRAIN = "train"
CLEAN_PREFIX = "clean:"
STREAM_PREFIX = "stream:"
Kind = Literal["dataset", "stream", "pairs", "clean pairs", "manifest"]


@dataclass(frozen=True)
class SourceSpec:
    """A source as it is named on the command line.

    Attributes:
        kind: what it is; a "stream" is a built dataset whose tiles come in epochs.
        place: of the table or folder; a URL only of a stream.
        weight: its share of each batch, relative to the other sources'.
    """

    kind: Kind
    place: Path | str
    weight: float

    @property
    def path(self) -> Path:
        """The place of what is no stream."""
        return Path(self.place)

    @property
    def needs_noise(self) -> bool:
        """Whether its pictures are clean ones only."""
        return self.kind in ("clean pairs", "manifest")


@dataclass(frozen=True)
class TrainingPicture:
    """A picture to draw patches from; its pixels stay on disk.

    Attributes:
        name: for messages.
        info: size, channels and bits.
        noisy: None where noise is to be synthesized, else the path of the file or the key of the tile.
        clean: likewise.
        conditions: of the noise; of several one is drawn for each patch.
        photograph: of a manifest, so that it may be enlarged.
        dataset: that holds the tile; None where `noisy` and `clean` are paths.
    """

    name: str
    info: ImageInfo
    noisy: Path | str | None
    clean: Path | str
    conditions: tuple[Condition, ...]
    photograph: bool = False
    dataset: BuiltDataset | None = None

    def load(self) -> tuple[np.ndarray | None, np.ndarray]:
        """Decodes (noisy or None, clean), each [H, W, C] uint8 or uint16.

        Raises:
            UsageError: it cannot be decoded, or is not what its header said.
        """
        try:
            if self.dataset is not None:
                return self.dataset.load(str(self.clean))
            clean = read_image(Path(self.clean))
            noisy = None if self.noisy is None else read_image(Path(self.noisy))
        except InputError as error:
            raise UsageError(f"{self.name}: {error}") from error
        for picture in (clean, noisy):
            if picture is not None and picture.shape != (
                self.info.height,
                self.info.width,
                self.info.channels,
            ):
                raise UsageError(f"{self.name}: its size changed while training; start again")
        return noisy, clean


@dataclass(frozen=True)
class Source:
    """The pictures of one source.

    Attributes:
        spec: what it was opened from.
        pictures: at least one; none of a stream.
        problems: rows that were left out, and why.
        record: what the pictures are, for the card: plain JSON values that change when they do.
        stream: the dataset of a stream.
    """

    spec: SourceSpec
    pictures: tuple[TrainingPicture, ...]
    problems: tuple[str, ...]
    record: dict[str, Any]
    stream: StreamedDataset | None = None

    @property
    def kinds(self) -> set[tuple[int, int]]:
        """The (channels, bits) of the pictures."""
        infos = [picture.info for picture in self.pictures]
        infos += [] if self.stream is None else [self.stream.info]
        return {(info.channels, info.bits) for info in infos}

    @property
    def bit_depths(self) -> set[int]:
        """Those of built datasets; files of pairs do not tell."""
        depths = {picture.dataset.bit_depth for picture in self.pictures if picture.dataset is not None}
        return depths if self.stream is None else depths | {self.stream.bit_depth}


def parse_source(text: str) -> SourceSpec:
    """Reads ``[clean:|stream:]PATH[:WEIGHT]``.

    PATH is a table of pairs (.csv or .parquet), a manifest (.parquet) or the folder of a built dataset. ``clean:``
    takes only the clean pictures of a table of pairs, with their camera and ISO. ``stream:`` takes the tiles of a built
    dataset in epochs; one at a URL always comes so.

    Raises:
        UsageError: there is no such file, it is none of these, or the weight is not positive.
    """
    rest = text.removeprefix(CLEAN_PREFIX).removeprefix(STREAM_PREFIX)
    named, weight = rest, 1.0
    head, colon, tail = rest.rpartition(":")
    if colon and not Path(rest).exists():
        with suppress(ValueError):
            weight = float(tail)
            named = head
    if not 0 < weight < float("inf"):
        raise UsageError(f"{text}: the weight must be a positive number, not {tail}")
    place = as_place(named)
    kind: Kind = "stream" if isinstance(place, str) else _kind(place)
    if text.startswith(CLEAN_PREFIX):
        if kind != "pairs":
            raise UsageError(
                f"{text}: {CLEAN_PREFIX} takes the clean pictures of a table of pairs; {place} is none"
            )
        kind = "clean pairs"
    if text.startswith(STREAM_PREFIX):
        if kind not in ("dataset", "stream"):
            raise UsageError(f"{text}: {STREAM_PREFIX} takes the tiles of a built dataset; {place} is none")
        kind = "stream"
    return SourceSpec(kind, place, weight)


def open_source(
    spec: SourceSpec,
    *,
    split: str | None,
    noise_model: NoiseModel | None,
    root: Path | None = None,
    max_failures: int = 100,
) -> Source:
    """Lists the pictures of a source; every header is read, no pixels. Of a stream, only tiles are counted.

    Args:
        spec: the source.
        split: of tables of pairs and of built datasets; None for "train" where it is marked, "" for all.
        noise_model: which must cover the cameras and ISO settings of clean pictures; needed for such.
        root: folder that a manifest's relative paths start from, see `Manifest.open`.
        max_failures: rows of a manifest that may be bad.

    Raises:
        UsageError: the source cannot be used, or too many of its rows cannot.
    """
    problems: list[str] = []
    if spec.needs_noise and noise_model is None:
        raise UsageError(f"{spec.path} holds clean pictures; a noise model is needed")
    stream = None
    pictures: list[TrainingPicture] = []
    if spec.kind == "stream":
        split = _split_of_built(spec, split)
        stream = StreamedDataset.open(spec.place, split or "")
        record: dict[str, Any] = {"fingerprint": stream.fingerprint, "split": split}
    elif spec.kind == "dataset":
        split = _split_of_built(spec, split)
        dataset = BuiltDataset.open(spec.path, split)
        pictures = [
            TrainingPicture(key, dataset.info, key, key, (condition,), dataset=dataset)
            for key, condition in dataset.tiles
        ]
        record = {"fingerprint": dataset.fingerprint, "split": split}
    elif spec.kind == "manifest":
        assert noise_model is not None
        pictures = _photographs(spec.path, root, noise_model, problems)
        record = {"sha256": file_sha256(spec.path)}
    else:
        if split is None and TRAIN in splits_of(spec.path):
            split = TRAIN
        pairs = read_pairs(spec.path, split=split or None)
        pictures = [_of_pair(pair, noisy=spec.kind == "pairs") for pair in pairs]
        if spec.needs_noise:
            assert noise_model is not None
            for picture in pictures:
                _check_covered(noise_model, picture)
        record = {"sha256": file_sha256(spec.path), "split": split}
    if len(problems) > max_failures:
        listed = "\n  ".join(problems[:20])
        raise UsageError(f"{spec.path}: {len(problems)} rows cannot be used:\n  {listed}")
    if not pictures and stream is None:
        raise UsageError(f"{spec.path}: holds nothing to train on")
    record = {
        "name": spec.path.name,
        "kind": spec.kind,
        "weight": spec.weight,
        "pictures": len(pictures) if stream is None else stream.tiles,
    } | record
    return Source(spec, tuple(pictures), tuple(problems), record, stream)


def _kind(path: Path) -> Kind:
    if not path.exists():
        raise UsageError(
            f"{path}: no such file or folder; give a table of pairs, a manifest or a built dataset"
            f"{did_you_mean_path(path)}"
        )
    if path.is_dir():
        return "dataset"
    if path.suffix.lower() == ".csv":
        return "pairs"
    try:
        columns = pq.read_schema(path).names
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            f"{path}: no table of pairs (.csv or .parquet), manifest (.parquet) or folder of a built dataset: {error}"
        ) from error
    return "pairs" if "noisy_path" in columns else "manifest"


def _split_of_built(spec: SourceSpec, split: str | None) -> str | None:
    """The split to take of a built dataset; None where it has none."""
    splits = splits_of_built(spec.place)
    if split is None and TRAIN in splits:
        return TRAIN
    return split if splits else None


def _of_pair(pair: Pair, *, noisy: bool) -> TrainingPicture:
    return TrainingPicture(
        f"pair {pair.name}",
        probe(pair.clean_path),
        pair.noisy_path if noisy else None,
        pair.clean_path,
        (pair.condition,),
    )


def _photographs(
    path: Path, root: Path | None, noise_model: NoiseModel, problems: list[str]
) -> list[TrainingPicture]:
    manifest = Manifest.open(path, root=root, allow_outside=root is None)
    pictures = []
    for row in manifest.rows(0, manifest.num_rows):
        if isinstance(row, BadRow):
            problems.append(row.message)
            continue
        try:
            if isinstance(row.path, str):
                raise InputError("remote", f"{row.path}: training reads local files only; copy it here")
            conditions = _candidates(noise_model, row.camera, row.iso)
            picture = TrainingPicture(
                f"photograph {row.id}", probe(row.path), None, row.path, conditions, True
            )
            _check_covered(noise_model, picture)
        except (InputError, UsageError) as error:
            problems.append(f"{path.name}, row {row.index}: {error}")
            continue
        pictures.append(picture)
    return pictures


def _candidates(noise_model: NoiseModel, camera: str | None, iso: int | None) -> tuple[Condition, ...]:
    """What a missing camera or ISO may stand for: of what the model knows, that for which it has references."""
    known = noise_model.vocabulary.candidates(camera, iso)
    if not isinstance(noise_model, WithPool):
        return known
    return tuple(condition for condition in known if noise_model.has_reference(condition)) or known


def _check_covered(noise_model: NoiseModel, picture: TrainingPicture) -> None:
    try:
        for condition in picture.conditions:
            resolve_condition(noise_model, condition)
    except InputError as error:
        raise UsageError(f"{picture.name}: {error}") from error


def kinds_of(sources: Sequence[Source]) -> set[tuple[int, int]]:
    """The (channels, bits) of all pictures."""
    return {kind for source in sources for kind in source.kinds}
