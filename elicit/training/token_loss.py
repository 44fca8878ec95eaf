"""The loss over tokens alone: rows of the head that are no tokens have no share in the trainer's softmax."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exclude_unassigned_rows(unassigned: Sequence[int]) -> Iterator[None]:
    """TRL's fused head leaves out these rows: their probability is 0, and no gradient reaches them.

    Rows behind the last token are gone since loading (`elicit.loading.rows`), so this is for gaps between tokens; it
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
    """Stands where the fused head calls `apply`: the same on the rows that are tokens."""

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
