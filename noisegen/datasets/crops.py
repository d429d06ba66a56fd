"""Which part of which picture an index of a training dataset stands for: a pure function, without state of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from noisegen.chance import places
from noisegen.errors import UsageError

__all__ = ["Crop", "Visits", "turned"]

ORIENTATIONS = 8


@dataclass(frozen=True)
class Crop:
    """A square of a picture that may be turned.

    Attributes:
        y, x: the square's first row and column in the turned picture.
        side: in pixels; None for the whole picture.
        orientation: see `turned`.
    """

    y: int
    x: int
    side: int | None
    orientation: int

    @classmethod
    def draw(cls, picture: np.ndarray, side: int | None, *, augment: bool, what: tuple[object, ...]) -> Crop:
        """One of all that the picture [H, W, C] has, equally likely; a function of `what` and its size alone.

        Args:
            picture: as it is.
            side: of the square, not larger than the picture.
            augment: whether the picture may be turned.
            what: names the choice.
        """
        first, second, third = places(3, "crop", *what)
        orientation = int(third * ORIENTATIONS) if augment else 0
        if side is None:
            return cls(0, 0, None, orientation)
        height, width = turned(picture, orientation).shape[:2]
        return cls(int(first * (height - side + 1)), int(second * (width - side + 1)), side, orientation)

    def of(self, picture: np.ndarray) -> np.ndarray:
        """This part of a picture [H, W, C], as a view."""
        whole = turned(picture, self.orientation)
        if self.side is None:
            return whole
        return whole[self.y : self.y + self.side, self.x : self.x + self.side]


class Visits:
    """The visits of pictures in the epochs of a training.

    Args:
        pictures: how many there are.
        crops: visits of each picture in an epoch.
        seed: of all that is drawn, 0 or more.

    Raises:
        UsageError: a number makes no sense.
    """

    def __init__(self, pictures: int, *, crops: int, seed: int) -> None:
        if crops < 1 or seed < 0:
            raise UsageError(f"crops {crops} must be 1 or more, seed {seed} 0 or more")
        self.crops, self.seed = crops, seed
        self._pictures = pictures
        # Shared, so that workers that a DataLoader keeps alive see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return self._pictures * self.crops

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch, from 0."""
        if epoch < 0:
            raise UsageError(f"epoch {epoch} must be 0 or more")
        self._epoch.fill_(epoch)

    def of(self, index: int) -> tuple[int, int]:
        """(picture, number of its visit in the whole training) of an index of this epoch.

        Raises:
            IndexError: there is no such index.
        """
        picture, visit = divmod(range(len(self))[index], self.crops)
        return picture, int(self._epoch) * self.crops + visit


def turned(picture: np.ndarray, orientation: int) -> np.ndarray:
    """One of the eight flips and quarter turns of a picture [H, W, C], as a view; 0 is the picture as it is."""
    quarter = np.rot90(picture, orientation % 4)
    return quarter[:, ::-1] if orientation >= 4 else quarter
