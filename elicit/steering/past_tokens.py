"""Token ids that a foreign forward pass has read before: kept on its KV cache, so that they move as the cache does.

Transformers' `generate` gives each call only the new tokens. What stood before is noted on the cache object of the
call: several caches may be in use in turn (assisted decoding), and beams reorder a cache's rows between calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Texts = list[list[int]]
_NAME = "_elicit_tokens"


def read_past(cache: Any) -> Texts | None:
    """Tokens of every row that a cache holds, as far as they were noted."""
    return getattr(cache, _NAME, None)


def note_past(cache: Any, texts: Texts) -> None:
    """Note the tokens of every row of a cache, and have them follow when its rows are reordered or repeated."""
    if not hasattr(cache, _NAME):
        _follow(cache, "reorder_cache", lambda rows, order: [rows[i] for i in _to_list(order)])
        _follow(cache, "batch_select_indices", lambda rows, order: [rows[i] for i in _to_list(order)])
        _follow(cache, "batch_repeat_interleave", lambda rows, n: [row for row in rows for _ in range(int(n))])
    setattr(cache, _NAME, texts)


def _follow(cache: Any, method: str, move: Callable[[Texts, Any], Texts]) -> None:
    original = getattr(cache, method, None)
    if original is None:
        return

    def moved(argument: Any, *args: Any, **kwargs: Any) -> Any:
        texts = read_past(cache)
        if texts is not None:
            setattr(cache, _NAME, [list(row) for row in move(texts, argument)])
        return original(argument, *args, **kwargs)

    setattr(cache, method, moved)


def _to_list(order: Any) -> list[int]:
    return order.tolist() if isinstance(order, torch.Tensor) else list(order)
