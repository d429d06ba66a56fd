"""The blocks that denoisers are scored on: SIDD validation and benchmark (2018), SIDD+ (NTIRE 2020), sRGB."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisegen.conditions import Condition
from noisegen.datasets.mat_files import MatArray, open_mat_array
from noisegen.datasets.sidd import FOLDER
from noisegen.errors import InputError, UsageError
from noisegen.images import read_image

__all__ = ["LAYOUTS", "BlockLayout", "PngBlocks", "condition_of_scene", "open_blocks"]

LISTED = 5


@dataclass(frozen=True)
class BlockLayout:
    """How a set of blocks is published.

    Attributes:
        name: of the benchmark.
        noisy: variable with the noisy blocks, and stem of its file or name of its folder of pictures.
        clean: the same of the clean ones, None where they are kept secret.
        grid: blocks along each of the array's first axes: (scenes, blocks) or (blocks,).
        block: shape of one.
        folders: whether it is also published as folders of pictures, named 0000.PNG, 0001.PNG and so on.
        scenes: SIDD names of the first scenes, as far as they are known.
    """

    name: str
    noisy: str
    clean: str | None
    grid: tuple[int, ...]
    block: tuple[int, int, int] = (256, 256, 3)
    folders: bool = False
    scenes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.grid, *self.block)


# The files do not say which scenes their blocks are of; of the validation blocks the first five are known.
LAYOUTS = (
    BlockLayout(
        "SIDD validation",
        "ValidationNoisyBlocksSrgb",
        "ValidationGtBlocksSrgb",
        (40, 32),
        scenes=(
            "0009_001_S6_00800_00350_3200_L",
            "0021_001_GP_10000_05000_5500_N",
            "0024_001_N6_03200_01500_5500_N",
            "0026_001_G4_00400_00160_5500_L",
            "0031_001_IP_01600_02000_3200_N",
        ),
    ),
    BlockLayout("SIDD benchmark", "BenchmarkNoisyBlocksSrgb", None, (40, 32)),
    BlockLayout("SIDD+", "siddplus_valid_noisy_srgb", "siddplus_valid_gt_srgb", (1024,), folders=True),
)


@dataclass(frozen=True)
class PngBlocks:
    """Blocks that are pictures in a folder.

    Attributes:
        files: in the order of the blocks.
        shape: of each picture.
    """

    files: tuple[Path, ...]
    shape: tuple[int, int, int]

    def block(self, index: tuple[int, ...]) -> np.ndarray:
        """A picture, [H, W, C] uint8.

        Raises:
            InputError: it cannot be read, or ``wrong_shape``.
        """
        (number,) = index
        picture = read_image(self.files[number])
        if picture.shape != self.shape or picture.dtype != np.uint8:
            raise InputError(
                "wrong_shape",
                f"{self.files[number]} is {picture.dtype} {list(picture.shape)}; "
                f"expected uint8 {list(self.shape)}",
            )
        return picture


def open_blocks(path: Path, variable: str, layout: BlockLayout) -> MatArray | PngBlocks:
    """The blocks of a file or folder, after its shape was checked.

    Args:
        path: a ``.mat`` file, or a folder of pictures.
        variable: of the layout.
        layout: what it should be.

    Raises:
        UsageError: it is missing or something else.
    """
    if not path.is_dir():
        return open_mat_array(path, variable, layout.shape, "uint8")
    there = {file.name.upper(): file for file in path.iterdir()}
    names = [f"{number:04d}.PNG" for number in range(layout.grid[0])]
    absent = [name for name in names if name not in there]
    if absent:
        more = ", ..." if len(absent) > LISTED else ""
        raise UsageError(
            f"{path}: {len(absent)} of the {len(names)} pictures {names[0]} to {names[-1]} are missing: "
            f"{', '.join(absent[:LISTED])}{more}; unpack it again"
        )
    return PngBlocks(tuple(there[name] for name in names), layout.block)


def condition_of_scene(scene: str) -> Condition:
    """Camera and ISO in the name of a SIDD scene, for example 0009_001_S6_00800_00350_3200_L."""
    match = FOLDER.fullmatch(scene)
    if match is None:
        raise ValueError(f"{scene!r} is no name of a SIDD scene")
    return Condition(match["phone"], int(match["iso"]))
