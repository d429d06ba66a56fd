"""What happens in a build, as the pipeline tells it to those who write."""

from __future__ import annotations

from dataclasses import dataclass

from noisegen.synthesis.records import FinishedTile
from noisegen.synthesis.shards import Failure, Shard

__all__ = ["Event", "RowDone", "RowFailed", "ShardBegins", "ShardEnds", "TilesDone", "TilesLeftOut"]


@dataclass(frozen=True)
class ShardBegins:
    shard: Shard


@dataclass(frozen=True)
class ShardEnds:
    shard: Shard


@dataclass(frozen=True)
class RowFailed:
    failure: Failure


@dataclass(frozen=True)
class RowDone:
    """All tiles of a row have been handed over; the last of them may come with the next row's."""


@dataclass(frozen=True)
class TilesDone:
    tiles: list[FinishedTile]


@dataclass(frozen=True)
class TilesLeftOut:
    """Tiles of a row that the selection does not want, counted by reason."""

    tiles: dict[str, int]


Event = ShardBegins | ShardEnds | RowFailed | RowDone | TilesDone | TilesLeftOut
