"""Speed and size of the PNG levels on the tiles of a built dataset, on one core.

    python benchmarks/png.py DATASET

Speeds are MB of raw pixels per second of processor time, the best of --rounds; sizes are bytes per pixel. The last
line is what a general encoder does: OpenCV as it is used by default.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from noisegen import png
from noisegen.datasets.built import BuiltDataset
from noisegen.png import encode_png, png_encoder
from noisegen.synthesis.choices import PNG_LEVELS

TILES = 64


def opencv_default(picture: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    assert done
    return data.tobytes()


def measure(encode: Callable[[np.ndarray], bytes], pictures: list[np.ndarray], rounds: int) -> float:
    """The best MB/s of all rounds."""
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        for picture in pictures:
            encode(picture)
        seconds.append(time.process_time() - started)
    return sum(picture.nbytes for picture in pictures) / 1e6 / min(seconds)


def size(encode: Callable[[np.ndarray], bytes], pictures: list[np.ndarray]) -> float:
    pixels = sum(picture.shape[0] * picture.shape[1] for picture in pictures)
    return sum(len(encode(picture)) for picture in pictures) / pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    dataset = BuiltDataset.open(options.dataset)
    step = max(1, len(dataset.tiles) // TILES)
    pairs = [dataset.load(key) for key, _ in dataset.tiles[::step]]
    noisy, clean = ([pair[side] for pair in pairs] for side in (0, 1))

    def row(name: str, encode: Callable[[np.ndarray], bytes]) -> None:
        speed = measure(encode, noisy, options.rounds)
        print(f"| {name} | {speed:.0f} | {size(encode, noisy):.2f} | {size(encode, clean):.2f} |")

    print("| level (encoder) | MB/s | noisy | clean |\n|---|---|---|---|")
    # each as where what comes before it is not there
    encoders = {png_encoder(): (png.library, png.isal_zlib)}
    for library, deflate in ((lambda: None, png.isal_zlib), (lambda: None, None)):
        png.library, png.isal_zlib = library, deflate
        encoders[png_encoder()] = (library, deflate)
    for i, (library, deflate) in enumerate(encoders.values()):
        png.library, png.isal_zlib = library, deflate
        for level in PNG_LEVELS:
            if level != "stored" or i == 0:  # all store alike
                row(
                    f"`{level}` ({png_encoder()})",
                    lambda picture, level=level: encode_png(picture, level=level),
                )
    row(f"`cv2.imencode`, default (opencv {cv2.__version__})", opencv_default)


if __name__ == "__main__":
    main()
