"""Selection of examples while text streams by: a few per feature, chosen by identity and never by order.

A causal model's activation depends on the text up to its token and on nothing else: that text, hashed, is a firing's
`context`. Where the same context begins many sequences, it is shown once. Every firing also has a random number of its
own, of (seed, SAE, feature, sequence, position): the firings with the smallest numbers are a uniform sample, whatever
the order or the batches.

A pool keeps, for every feature, the firings with the smallest `rank`: minus the value for the top examples, the random
number for the sampled ones. Memory is features x kept x window.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Window(NamedTuple):
    """Size of the context shown around a firing."""

    before: int
    after: int

    @property
    def width(self) -> int:
        return self.before + 1 + self.after


class Firings(NamedTuple):
    """Firings, one per entry, without their windows."""

    slot: Int[np.ndarray, " firing"]
    """Number of the feature among those looked at."""
    rank: Float[np.ndarray, " firing"]
    key: UInt64[np.ndarray, " firing"]
    """Who it is: of two firings with one key, one is kept."""
    context: UInt64[np.ndarray, " firing"]
    """Hash of the text up to and including its token."""
    sequence: UInt64[np.ndarray, " firing"]
    """Hash of the whole sequence."""
    row: Int[np.ndarray, " firing"]
    """Where it is in its batch."""
    value: Float[np.ndarray, " firing"]

    def select_entries(self, which: np.ndarray) -> Firings:
        """Some of them."""
        return Firings(*(np.asarray(column)[which] for column in self._asdict().values()))


def mix_bits(x: UInt64[np.ndarray, " *shape"]) -> UInt64[np.ndarray, " *shape"]:
    """The finaliser of splitmix64 (Steele et al. 2014): equal inputs to equal outputs, near ones to unrelated."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed_up: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed_up


def hash_prefixes(ids: Int[np.ndarray, " token"], position: Int[np.ndarray, " token"]) -> UInt64[np.ndarray, " token"]:
    """A hash of each token's sequence up to and including it. Sequences lie one after another."""
    hashes = mix_bits(ids.astype(np.uint64) + _GOLDEN)
    for p in range(1, int(position.max(initial=0)) + 1):
        rows = np.flatnonzero(position == p)
        hashes[rows] = mix_bits(hashes[rows - 1] * _GOLDEN ^ hashes[rows])
    return hashes


def round_for_ordering(values: Float[np.ndarray, " firing"]) -> Float[np.ndarray, " firing"]:
    """Eleven bits of a value, for ordering: what differs less (rounding in batches of other shapes) counts as equal."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.round(mantissa * 2048) / 2048, exponent)


def select_smallest(
    slot: Int[np.ndarray, " firing"],
    rank: Float[np.ndarray, " firing"],
    key: UInt64[np.ndarray, " firing"],
    sequence: UInt64[np.ndarray, " firing"],
    keep: int,
) -> Int[np.ndarray, " kept"]:
    """The `keep` firings of smallest rank of every feature; of those with one key, the one of the smallest sequence."""
    order = np.lexsort((sequence, rank, key, slot))
    s, k = slot[order], key[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (s[1:] != s[:-1]) | (k[1:] != k[:-1])
    order = order[first]
    order = order[np.lexsort((key[order], rank[order], slot[order]))]
    s = slot[order]
    feature_order = np.arange(len(s)) - np.searchsorted(s, s)  # the how-manieth of its feature
    return order[feature_order < keep]


class FiringPool:
    """The kept firings of all features, with the tokens and activations around them."""

    def __init__(self, features: int, keep: int, window: Window) -> None:
        self.keep = keep
        self.worst = np.full(features, np.inf)
        """Per feature, the rank a newcomer must not exceed."""
        self.kept = np.zeros(0, dtype=_record_dtype(window))

    def filter_candidates(self, firing: Firings) -> Firings:
        """The firings of a batch that may enter: not worse than what is kept, and among the best of their batch."""
        firing = firing.select_entries(firing.rank <= self.worst[firing.slot])
        return firing.select_entries(select_smallest(firing.slot, firing.rank, firing.key, firing.sequence, self.keep))

    def add(self, records: np.ndarray) -> None:
        """Take offered firings in, and drop what they displace."""
        both = np.concatenate([self.kept, records])
        self.kept = both[select_smallest(both["slot"], both["rank"], both["key"], both["sequence"], self.keep)]
        for slot, feature_records in enumerate(self.by_feature()):
            if len(feature_records) == self.keep:
                self.worst[slot] = feature_records["rank"][-1]

    def by_feature(self) -> list[np.ndarray]:
        """Entries of each feature, smallest rank first."""
        cuts = np.searchsorted(self.kept["slot"], np.arange(len(self.worst) + 1))
        return [self.kept[low:high] for low, high in pairwise(cuts)]


def build_records(
    firing: Firings, ids: Int[np.ndarray, "firing width"], acts: Float[np.ndarray, "firing width"], window: Window
) -> np.ndarray:
    """Firings with their windows. `ids` is -1 outside of the sequence, `acts` NaN where the SAE does not read."""
    array = np.zeros(len(firing.slot), dtype=_record_dtype(window))
    for name in ("slot", "rank", "key", "context", "sequence", "value"):
        array[name] = getattr(firing, name)
    array["ids"], array["acts"] = ids, acts
    return array


def _record_dtype(window: Window) -> np.dtype:
    return np.dtype(
        [
            *(("slot", np.int64), ("rank", np.float64), ("key", np.uint64)),
            *(("context", np.uint64), ("sequence", np.uint64), ("value", np.float32)),
            *(("ids", np.int32, (window.width,)), ("acts", np.float32, (window.width,))),
        ]
    )
