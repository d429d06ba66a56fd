"""Sound files for `fuzz.py` to damage, and the ways it damages them."""

from __future__ import annotations

import io
import json
import random
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from synthesis_fixtures import photograph, tiny_model

from noisegen.models import checkpoint_of_model
from noisegen.models.checkpoint import write_checkpoint
from noisegen.png import encode_png

__all__ = ["SEEDS", "mutate"]

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 100_000)
JSON_VALUES = (
    None, True, -1, 0, 10**30, 1.5, "", "x" * 300, "\0", "S6", [], {}, [[]], [0, 2**40], [0, 0], [4, 2],
    {"noisegen": "x"}, "F64", "I8", "BF16", json.dumps({"format": "noisegen-checkpoint", "version": 1}),
)  # fmt: skip


def picture_seeds() -> list[bytes]:
    """A picture of each kind that is read, and of some that are refused."""
    colour, grey = photograph(24, 33), photograph(20, 17, channels=1)
    deep = photograph(16, 19, bits=16)
    image = Image.fromarray(colour)
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "Camera"
    seeds = [encode_png(colour), encode_png(grey), encode_png(deep)]
    plain: list[tuple[Image.Image, str, dict[str, object]]] = [
        (image, "PNG", {"exif": exif}),
        (image.quantize(16), "PNG", {}),
        (image.quantize(16), "PNG", {"transparency": 3}),
        (image.convert("RGBA"), "PNG", {}),
        (image.convert("LA"), "PNG", {}),
        (image.convert("1"), "PNG", {}),
        (image, "JPEG", {"quality": 80, "exif": exif}),
        (image, "JPEG", {"progressive": True}),
        (image.convert("L"), "JPEG", {}),
        (image.convert("CMYK"), "JPEG", {}),
        (image, "TIFF", {}),
        (image, "TIFF", {"compression": "tiff_lzw"}),
        (image, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (image, "TIFF", {"compression": "jpeg"}),
        (image, "TIFF", {"big_tiff": True}),
        (image.convert("1"), "TIFF", {"compression": "group4"}),
        (image.quantize(16), "TIFF", {}),
        (image, "BMP", {}),
        (image.quantize(16), "BMP", {}),
        (image, "WEBP", {"lossless": True, "exif": exif}),
        (image, "WEBP", {"quality": 60}),
        (image, "GIF", {}),
        (image, "GIF", {"save_all": True, "append_images": [image.rotate(90)]}),
        (image, "TIFF", {"save_all": True, "append_images": [image]}),
    ]
    for picture, kind, options in plain:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        seeds.append(buffer.getvalue())
    for array in (deep, deep[..., :1]):
        seeds.append(cv2.imencode(".tif", np.ascontiguousarray(array))[1].tobytes())
    return seeds


def png_seeds() -> list[bytes]:
    """What `encode_png` writes."""
    return [
        encode_png(photograph(h, w, channels=c, bits=b))
        for h, w in ((1, 1), (7, 5))
        for c in (1, 3)
        for b in (8, 16)
    ]


def manifest_seeds() -> list[bytes]:
    """Manifests with all kinds of columns, coded in different ways."""
    table = pa.table(
        {
            "path": [f"{i}.png" for i in range(40)],
            "camera": pa.array(["S6", None] * 20),
            "iso": pa.array([100, None] * 20),
            "id": [f"id {i}" for i in range(40)],
            "note": pa.array(["a", "b"] * 20).dictionary_encode(),
            "box": [{"left": 1.5, "tags": ["x"]}] * 40,
            "taken": pa.array([10**15] * 40, pa.timestamp("us")),
        }
    )
    small = pa.table({"path": ["a.png", "b/../c.png"]})
    seeds = []
    for content, options in (
        (small, {"compression": "none", "store_schema": False}),
        (small, {"compression": "zstd"}),
        (table, {"compression": "none", "use_dictionary": False}),
        (table, {"compression": "snappy", "row_group_size": 7}),
        (table, {"compression": "gzip", "data_page_version": "2.0", "write_page_index": True}),
    ):
        buffer = io.BytesIO()
        pq.write_table(content, buffer, **options)
        seeds.append(buffer.getvalue())
    return seeds


def checkpoint_seeds() -> list[bytes]:
    """Checkpoints of a noise model with and without a critic, of a denoiser, and a plain safetensors file."""
    from safetensors.torch import save

    from noisegen.denoising.dncnn import DnCNN
    from noisegen.models.checkpoint import Checkpoint

    sizes = {"channels": 3, "layers": 3, "width": 4, "bit_depth": 8}
    seeds = []
    for checkpoint in (
        checkpoint_of_model("nm-flowgan", tiny_model(), {"training": "none"}),
        checkpoint_of_model("nm-flowgan", tiny_model(channels=1, bit_depth=12), {}),
        Checkpoint("dncnn", sizes, DnCNN(**sizes).state_dict()),
    ):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "seed.safetensors"
            write_checkpoint(path, checkpoint)
            seeds.append(path.read_bytes())
    return [*seeds, save({"weight": torch.zeros(2, 3)})]


def pth_seeds() -> list[bytes]:
    """Files of `torch.save` in both layouts, shaped like the authors'."""
    denoiser = {
        "model_weight": {
            "denoiser": {
                "denoiser.dncnn.0.weight": torch.zeros(4, 3, 3, 3),
                "denoiser.dncnn.0.bias": torch.zeros(4),
                "denoiser.dncnn.2.weight": torch.zeros(3, 4, 3, 3),
            }
        }
    }
    generator = {
        "bijectors.3.log_scale": torch.zeros(25, 3),
        "generator.down_path.0.block.0.weight": torch.zeros(4, 3, 3, 3),
    }
    seeds = []
    for content in (denoiser, {"model_weight": {"generator": generator}}, {"weights": torch.zeros(3)}):
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
            seeds.append(buffer.getvalue())
    return seeds


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "picture": picture_seeds,
    "png": png_seeds,
    "manifest": manifest_seeds,
    "checkpoint": checkpoint_seeds,
    "pth": pth_seeds,
}


def mutate(target: str, seeds: list[bytes], chance: random.Random) -> bytes:
    """A damaged copy of one of the seeds; often with its checksums mended, so that the damage gets further."""
    data = chance.choice(seeds)
    mended = chance.random() < 0.6
    if mended and target == "checkpoint":
        return _mutate_safetensors(data, chance)
    if mended and target == "pth" and data[:2] == b"PK":
        return _mutate_zip(data, chance)
    if chance.random() < 0.1:
        other = chance.choice(seeds)
        data = data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]
    # half the damage goes where files keep their headers: the first and last bytes
    data = _damage(data, chance)
    return _mend_png(data) if mended and target in ("picture", "png") else data


def _damage(data: bytes, chance: random.Random) -> bytes:
    work = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if not work:
            break
        span = min(len(work), 400) if chance.random() < 0.5 else len(work)
        place = chance.randrange(span)
        if chance.random() < 0.3:
            place = len(work) - 1 - place
        kind = chance.randrange(7)
        if kind == 0:
            work[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            work[place] = chance.randrange(256)
        elif kind == 2:
            layout = chance.choice(("<I", ">I", "<H", ">H", "<Q", ">Q"))
            size = struct.calcsize(layout)
            number = chance.choice(INTERESTING) & ((1 << (8 * size)) - 1)
            work[place : place + size] = struct.pack(layout, number)
        elif kind == 3:
            del work[place : place + chance.choice((1, 2, 4, 30))]
        elif kind == 4:
            work[place:place] = work[place : place + chance.choice((1, 4, 50))]
        elif kind == 5:
            length = chance.choice((1, 4, 20))
            work[place : place + length] = chance.randbytes(length)
        else:
            del work[max(place, 1) :]
    return bytes(work)


def _mend_png(data: bytes) -> bytes:
    """Makes the CRC of every chunk right again."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    work = bytearray(data)
    place = 8
    while place + 12 <= len(work):
        (length,) = struct.unpack(">I", work[place : place + 4])
        end = place + 8 + length
        if end + 4 > len(work):
            break
        work[end : end + 4] = struct.pack(">I", zlib.crc32(work[place + 4 : end]))
        place = end + 4
    return bytes(work)


def _mutate_safetensors(data: bytes, chance: random.Random) -> bytes:
    """Changes the JSON header, or the description inside it, and states its new length."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    meta = header.get("__metadata__", {})
    if "noisegen" in meta and chance.random() < 0.6:
        description = json.loads(meta["noisegen"])
        _change(description, chance)
        meta["noisegen"] = json.dumps(description)
        if chance.random() < 0.05:
            meta["noisegen"] = "[" * 200_000
    else:
        _change(header, chance)
    text = json.dumps(header).encode()
    if chance.random() < 0.1:
        text = _damage(text, chance)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _change(value: dict[str, object], chance: random.Random) -> None:
    """Replaces, renames or removes one entry somewhere in a tree of JSON."""
    node: object = value
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))  # type: ignore[arg-type,call-overload]
        if not keys:
            return
        key = chance.choice(keys)
        inner = node[key]  # type: ignore[index]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.75:
            node = inner
            continue
        kind = chance.randrange(4)
        if kind == 0 and isinstance(node, dict):
            del node[key]
        elif kind == 1 and isinstance(node, dict):
            node[f"{key}x"] = node.pop(key)
        elif kind == 2 and isinstance(inner, int):
            node[key] = inner + chance.choice((-1, 1, 2**31, -inner, 2**62, -(2**40)))  # type: ignore[index]
        else:
            node[key] = chance.choice(JSON_VALUES)  # type: ignore[index]
        return


def _mutate_zip(data: bytes, chance: random.Random) -> bytes:
    """Damages members of the archive, mostly the pickle, and packs it again with right checksums."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if chance.random() < (0.8 if member.filename.endswith("data.pkl") else 0.1):
                content = _damage(content, chance)
            new.writestr(member.filename, content)
    return buffer.getvalue()
