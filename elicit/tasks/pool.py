"""Problems that are drawn, in an order of which every beginning has the same mix.

1. A number of draws, by one stream for all splits and seeds, gives the pool: the different problems among them. The id
   of a problem decides its split.
2. A seed orders the pool of a split by a hash of (seed, problem id). The first n problems are therefore a random subset
   of the pool, whatever n, and every larger number begins with them.
3. Where more problems are asked for than the pool holds, the new ones among as many further draws are ordered in the
   same way and come after it, and so on. A split to which so many draws add nothing is exhausted.

Without a pool, problems of a small class (short chains) run out while they are drawn, so that the first ones are easier
than those that follow (`sequential`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from elicit import seeds
from elicit.tasks.core import SPLITS, Split


class ProblemPool:
    """What is drawn, by split and seed; drawn when it is first needed, and kept."""

    def __init__(self, draws: Iterator[tuple[str, Any] | None], size: int, find_split: Callable[[str], Split]) -> None:
        """
        Args:
            draws: endless; each is (id of a problem, what it is made of), or None where none came about.
            size: number of draws that make the pool.
            find_split: split of an id.
        """
        self._draws = draws
        self._size = size
        self._find_split = find_split
        self._known: set[str] = set()
        self._blocks: list[dict[Split, dict[str, Any]]] = []
        self._orders: dict[tuple[int, Split, int], list[Any]] = {}

    def take(self, split: Split, n: int, seed: int) -> list[Any]:
        """What the first `n` problems of a split are made of, in a seed's order; fewer where it is exhausted."""
        taken: list[Any] = []
        index = 0
        while len(taken) < n and (block := self._order_block(index, split, seed)):
            taken += block
            index += 1
        return taken[:n]

    def _order_block(self, index: int, split: Split, seed: int) -> list[Any]:
        key = index, split, seed
        if key not in self._orders:
            while len(self._blocks) <= index:
                self._blocks.append(self._draw_block())
            block = self._blocks[index][split]
            self._orders[key] = [block[identity] for identity in sorted(block, key=lambda id: _rank(seed, id))]
        return self._orders[key]

    def _draw_block(self) -> dict[Split, dict[str, Any]]:
        """Split -> {id: what it is made of}: what the next draws bring that no earlier one did."""
        block: dict[Split, dict[str, Any]] = {split: {} for split in SPLITS}
        for draw in islice(self._draws, self._size):
            if draw is not None and draw[0] not in self._known:
                self._known.add(draw[0])
                block[self._find_split(draw[0])][draw[0]] = draw[1]
        return block


def _rank(seed: int, identity: str) -> int:
    return seeds.derive_key("problem order", seed, identity)
