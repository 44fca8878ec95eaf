"""Loss over tokens only: exclude rows of the head that are not tokens from the trainer's softmax."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exclude_unassigned_rows(unassigned: Sequence[int]) -> Iterator[None]:
    """Exclude rows from TRL's fused head: their probability is 0, and no gradient reaches them.

    Rows after the last token are removed when loading (`elicit.loading.rows`), so this is for gaps between tokens. It
    costs a copy of the head in every pass.
    """
    if not unassigned:
        yield
        return
    from trl.trainer import utils

    before = utils._ChunkedLogProbFunction
    utils._ChunkedLogProbFunction = _TokenRowLoss(before, unassigned)
    try:
        yield
    finally:
        utils._ChunkedLogProbFunction = before


class _TokenRowLoss:
    """Replacement for the fused head's `apply`, restricted to rows that are tokens."""

    def __init__(self, function: Any, unassigned: Sequence[int]) -> None:
        self._function, self._unassigned = function, torch.tensor(sorted(unassigned))

    def apply(
        self, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, labels: torch.Tensor, *rest: Any
    ) -> Any:
        is_token = torch.ones(len(weight), dtype=torch.bool)
        is_token[self._unassigned] = False
        token_rows = is_token.nonzero()[:, 0].to(weight.device)
        row_index = (is_token.cumsum(0) - 1).clamp(min=0).to(weight.device)
        token_bias = None if bias is None else bias.index_select(0, token_rows)
        return self._function.apply(hidden, weight.index_select(0, token_rows), token_bias, row_index[labels], *rest)
