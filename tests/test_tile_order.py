"""Who reads which shards and tiles in an epoch: no tile twice, equal numbers, another order each time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice, pairwise

import numpy as np
import pytest

from noisegen.datasets.tile_order import Group, TileOrder, deal
from noisegen.errors import UsageError

# shards as photographs of very different sizes give them, two of them without a tile
COUNTS = np.random.default_rng(0).integers(0, 60, 40)
COUNTS[[3, 17]] = 0


def order(reader: int, readers: int, *, group: int = 4, seed: int = 0) -> TileOrder:
    return TileOrder(COUNTS, seed=seed, reader=reader, readers=readers, group=group)


def tiles(groups: Iterable[Group]) -> list[tuple[int, int]]:
    """(shard, number) of the tiles, in order."""
    return [(group.shards[shard], number) for group in groups for shard, number in group.picks.tolist()]


@pytest.mark.parametrize("readers", [1, 2, 3, 7])
def test_readers_get_equally_many_tiles_no_tile_twice_and_each_shard_has_one_reader(readers: int) -> None:
    for epoch in range(3):
        given = [tiles(order(reader, readers).groups(epoch)) for reader in range(readers)]
        together = [tile for each in given for tile in each]
        assert len({len(each) for each in given}) == 1
        assert len(set(together)) == len(together)
        owners = [{shard for shard, _ in each} for each in given]
        assert sum(map(len, owners)) == len(set().union(*owners))
        assert all(0 <= number < COUNTS[shard] for shard, number in together)
        # what is left out is less than the largest shard for each reader but the one with the fewest
        assert COUNTS.sum() - len(together) <= (readers - 1) * COUNTS.max()
        assert readers > 1 or len(together) == COUNTS.sum()


def test_each_epoch_and_each_seed_has_an_order_of_its_own_and_leaves_out_other_tiles() -> None:
    whole = {(shard, number) for shard, count in enumerate(COUNTS) for number in range(count)}
    epochs = [[tiles(order(reader, 3).groups(epoch)) for reader in range(3)] for epoch in range(6)]
    assert epochs[0] == [tiles(order(reader, 3).groups(0)) for reader in range(3)]
    assert len({str(epoch) for epoch in epochs}) == 6
    assert tiles(order(0, 3, seed=1).groups(0)) != epochs[0][0]
    left_out = [whole - {tile for each in epoch for tile in each} for epoch in epochs]
    assert all(left_out) and not set.intersection(*left_out)
    # a tile goes to other readers, too
    assert len({frozenset(shard for shard, _ in epoch[0]) for epoch in epochs}) == 6


def test_tiles_are_mixed_beyond_a_shard() -> None:
    sequence = [shard for shard, _ in tiles(order(0, 1, group=8).groups(0))]
    stays = np.mean([one == other for one, other in pairwise(sequence)])
    assert stays < 0.35
    # and no further than the groups, whose shards lie here together
    groups = [set(group.shards) for group in order(0, 1, group=8).groups(0)]
    assert max(map(len, groups)) == 8 and sum(map(len, groups)) == np.count_nonzero(COUNTS)


@pytest.mark.parametrize("start", [0, 1, 99, 400, 401, 1000])
def test_any_place_is_found_without_what_came_before(start: int) -> None:
    one = order(1, 3)
    each = one.share(0).tiles
    assert tiles(one.groups(0, min(start, each))) == tiles(one.groups(0))[start:]
    sequence = [tile for epoch in range(5) for tile in tiles(one.groups(epoch))]
    begun = list(islice(one.endless(start), 3))
    assert tiles(begun) == sequence[start : start + len(tiles(begun))]


def test_groups_that_are_left_out_as_a_whole_are_not_read() -> None:
    counts = np.array([10, 1, 1, 1])
    for epoch in range(8):
        shares = deal(counts, 2, seed=0, epoch=epoch)
        assert {share.tiles for share in shares} <= {2, 3}
        for reader in range(2):
            one = TileOrder(counts, seed=0, reader=reader, readers=2, group=1)
            assert all(len(group.picks) for group in one.groups(epoch))


def test_more_readers_than_shards_are_refused() -> None:
    with pytest.raises(UsageError, match="3 shards with tiles, too few to stream to 4 readers"):
        TileOrder(np.array([5, 0, 5, 5]), seed=0, reader=0, readers=4, group=4)
