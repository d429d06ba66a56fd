"""A folder, and buckets, in which everything is that the documentation's commands take."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from benchmark_fixtures import SMALL_LAYOUTS, blocks, write_v5
from denoiser_fixtures import write_denoiser
from image_fixtures import ROOT
from PIL import Image
from remote_fixtures import S3Server
from synthesis_fixtures import invoke, photograph, save_photograph
from training_fixtures import write_pair, write_table

from noisegen import stores
from noisegen.conditions import Condition, Vocabulary
from noisegen.models import checkpoint_of_model
from noisegen.models.checkpoint import resolve_checkpoint, write_checkpoint
from noisegen.models.registry import model_type

# known to the embedded model
CONDITIONS = (Condition("S6", 800), Condition("Canon80D", 3200))
_EXIF = {"make": 271, "model": 272, "iso": 34855, "details": 34665}


def make_scene(folder: Path) -> Path:
    """Fills an empty folder; a name means the same in all pages."""
    for name in ("PHOTOS", "photos", "photographs"):
        _photographs(folder / name)
    _list(folder / "PHOTOS", folder / "manifest.parquet")
    _list(folder / "photos", folder / "photos" / "manifest.parquet")
    with (folder / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path"], ["photos/slopes.png"]])
    _camera_picture(folder / "night.jpg", seed=8)
    _camera_picture(folder / "photo.jpg", seed=9, size=(700, 960))
    for name in ("PHOTO", "still-life.png"):
        shutil.copy(folder / "photo.jpg", folder / name)
    (folder / "more").mkdir()
    Image.fromarray(photograph(60, 70, seed=9)).save(folder / "more" / "scan.tif")
    (folder / "XRAYS").mkdir()
    for number in range(2):
        picture = photograph(256, 272, seed=number, channels=1, bits=16) // 16
        save_photograph(folder / "XRAYS" / f"{number}.png", picture)
    shutil.copy(folder / "XRAYS" / "0.png", folder / "XRAY")
    (folder / "phones.yaml").write_text("cameras: {S6: {iso: [800]}, GP: }\n")
    _pairs(folder)
    _models(folder)
    _benchmarks(folder)
    _datasets(folder)
    # where shells look for completions; the scene is home too
    for name in (".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"):
        (folder / name).mkdir(parents=True)
    for name in ("pipelines", "benchmarks", "docker"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def fill_bucket(store: S3Server, bucket: str, scene: Path, outputs: frozenset[str]) -> None:
    """Makes a bucket hold photographs with a manifest and a finished dataset, without what is in ``outputs``."""
    if bucket not in {each["Name"] for each in store.client.list_buckets()["Buckets"]}:
        store.client.create_bucket(Bucket=bucket)
    for entry in store.client.list_objects_v2(Bucket=bucket).get("Contents", []):
        store.client.delete_object(Bucket=bucket, Key=entry["Key"])
    store.put(scene / "photos", bucket, "photos")
    # for manifests whose paths begin with the folder's name
    store.put(scene / "PHOTOS", bucket, "photos/PHOTOS")
    if f"s3://{bucket}/dataset" not in outputs:
        store.put(scene / "DATASET", bucket, "dataset")
    stores.file_system.cache_clear()


def _photographs(folder: Path) -> None:
    """Two that say nothing of their camera, in an inner folder one that does."""
    (folder / "inner").mkdir(parents=True)
    save_photograph(folder / "slopes.png", photograph(260, 300, seed=1))
    save_photograph(folder / "edges.png", photograph(270, 256, seed=2))
    _camera_picture(folder / "inner" / "camera.jpg", seed=3)


def _camera_picture(path: Path, *, seed: int, size: tuple[int, int] = (256, 280)) -> None:
    picture = Image.fromarray(photograph(*size, seed=seed))
    exif = Image.Exif()
    exif[_EXIF["make"]], exif[_EXIF["model"]] = "Canon", "Canon EOS 5D Mark II"
    exif.get_ifd(_EXIF["details"])[_EXIF["iso"]] = 3200
    picture.save(path, "JPEG", exif=exif)


def _list(folder: Path, manifest: Path) -> None:
    done = invoke("make-manifest", str(folder), "-o", str(manifest), "--conditions", "draw")
    assert done.exit_code == 0, done.output
    assert pq.read_table(manifest).num_rows == 3


def _pairs(folder: Path) -> None:
    """pairs.csv, and pairs as SIDD-Medium and as a camera's owner would have them."""
    pictures = folder / "pairs"
    pictures.mkdir()
    rows = {}
    for condition, std in zip(CONDITIONS, (6.0, 12.0), strict=True):
        for split in ("train", "val"):
            name = f"{condition.camera}_{split}"
            write_pair(pictures, name, std, size=(192, 200))
            rows[f"pairs/{name}"] = (condition.camera, condition.iso, split)
    write_table(folder, rows)
    for number in range(2):
        _deep_pair(pictures, f"xray{number}", seed=number)
    with (folder / "xray-pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["noisy_path", "clean_path", "camera", "iso", "split", "name"])
        writer.writerows(
            [
                f"pairs/xray{number}_noisy.png",
                f"pairs/xray{number}_clean.png",
                "panel",
                iso,
                split,
                f"{iso} {split}",
            ]
            for number, iso in enumerate((100, 400))
            for split in ("train", "val")
        )
    for number, dose in enumerate(("dose100", "dose400")):
        for side in ("noisy", "clean"):
            (folder / dose / side).mkdir(parents=True)
            shutil.copy(pictures / f"xray{number}_{side}.png", folder / dose / side / "plate.png")
    for side in ("noisy", "clean"):
        shutil.copy(pictures / f"S6_val_{side}.png", folder / f"{side}.png")
    shutil.copy(folder / "pairs.csv", folder / "good.csv")
    sidd = folder / "SIDD_Medium_Srgb" / "Data" / "0004_001_S6_00100_00060_4400_L"
    shots = folder / "shots"
    for inner in (sidd, shots / "noisy", shots / "clean"):
        inner.mkdir(parents=True)
    for side, number, inner in (("noisy", "NOISY", "noisy"), ("clean", "GT", "clean")):
        shutil.copy(pictures / f"S6_train_{side}.png", sidd / f"0004_{number}_SRGB_010.PNG")
        shutil.copy(pictures / f"S6_train_{side}.png", shots / inner / "wall.png")
    shutil.copy(folder / "pairs.csv", folder / "sidd.csv")


def _deep_pair(folder: Path, name: str, *, seed: int) -> None:
    """A grey pair of 12 bits in files of 16."""
    clean = photograph(160, 160, seed=seed, channels=1, bits=16) // 32 + 1000
    noise = np.random.default_rng(seed).normal(0, 40, clean.shape).round()
    save_photograph(folder / f"{name}_clean.png", clean)
    save_photograph(folder / f"{name}_noisy.png", (clean + noise).clip(0, 4095).astype(np.uint16))


def _models(folder: Path) -> None:
    """Noise models: the embedded one under other names, a random NAFlow, fitted ones. And denoisers."""
    for name in ("camera", "compact", "paper", "my-camera", "a", "b"):
        shutil.copy(resolve_checkpoint("default"), folder / f"{name}.safetensors")
    kind = model_type("naflow")
    model = kind.model(next(iter(kind.recipes.values())).model, Vocabulary.of(CONDITIONS))
    checkpoint = checkpoint_of_model("naflow", model, {"training": "none, random weights"})
    write_checkpoint(folder / "naflow.safetensors", checkpoint)
    for name, pairs, depth in (("model", "pairs", "8"), ("xray", "xray-pairs", "12")):
        options = [
            "-o",
            str(folder / f"{name}.safetensors"),
            "--model-type",
            "correlated-gaussian",
            "--bit-depth",
            depth,
        ]
        done = invoke("train-noise-model", str(folder / f"{pairs}.csv"), *options)
        assert done.exit_code == 0, done.output
    shutil.copy(folder / "xray.safetensors", folder / "gaussian.safetensors")
    for name in ("denoiser", "mine", "real", "mine-1", "mine-2", "real-1", "real-2"):
        write_denoiser(folder / f"{name}.safetensors")


def _benchmarks(folder: Path) -> None:
    """SIDD's and SIDD+'s files of blocks, as small as `SMALL_LAYOUTS` says."""
    validation, benchmark, plus = SMALL_LAYOUTS
    places = {
        "SIDD": (validation,),
        "SIDD_Blocks": (validation, benchmark),
        "SIDD_Plus": (plus,),
        ".": (benchmark, plus),
    }
    for name, layouts in places.items():
        (folder / name).mkdir(exist_ok=True)
        for layout in layouts:
            for seed, variable in enumerate(filter(None, (layout.noisy, layout.clean))):
                write_v5(folder / name / f"{variable}.mat", variable, blocks(layout.shape, seed))


def _datasets(folder: Path) -> None:
    """DATASET of all photographs; PART1 to PART3 of other draws."""
    for name, seed in (("DATASET", "0"), ("PART1", "1"), ("PART2", "2"), ("PART3", "3")):
        few = [] if name == "DATASET" else ["--limit", "1"]
        done = invoke(
            "build-dataset", str(folder / "manifest.parquet"), "-o", str(folder / name), "--seed", seed, *few
        )
        assert done.exit_code == 0, done.output
    shutil.copytree(folder / "DATASET", folder / "OUT")
    shutil.copytree(folder / "DATASET", folder / "datasets" / "noisy")
