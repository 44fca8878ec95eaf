"""Random numbers by identity.

Every random number in the lab is a function of its identity (run seed, task, problem, sample, step) and never of batch,
worker or call order. The identity is hashed to a 128-bit key of a counter-based generator (Philox, Salmon et al. 2011,
as in numpy): position k of a stream is the number for step k.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float64


def derive_key(*identity: object) -> int:
    """Derive the 128-bit key of an identity such as `(seed, task, problem_id, sample)`.

    Parts are compared by their JSON text, so `1` and `"1"` differ and tuples equal lists.
    """
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def derive_small_seed(*identity: object) -> int:
    """Derive a 31-bit seed from an identity, for libraries that do not accept larger ones."""
    return derive_key(*identity) & 0x7FFF_FFFF


def make_generator(*identity: object) -> np.random.Generator:
    """Make the numpy generator of an identity."""
    return np.random.Generator(np.random.Philox(key=derive_key(*identity)))


def draw_uniforms(keys: Iterable[int], steps: int) -> Float64[np.ndarray, "rows steps"]:
    """Draw uniform numbers in [0, 1): one row per key, one column per step."""
    rows = [np.random.Generator(np.random.Philox(key=k)).random(steps) for k in keys]
    return np.stack(rows) if rows else np.zeros((0, steps))
