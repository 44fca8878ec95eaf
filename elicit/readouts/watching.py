"""Residuals at the last position of the latest forward pass, and paired states of two models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from elicit.sampling.forward import DecodingState

Residuals = dict[int, Float[torch.Tensor, "rows d_model"]]


@contextmanager
def capture_residuals(layers: Sequence[nn.Module], depths: Sequence[int]) -> Iterator[Residuals]:
    """Capture the residual after given numbers of decoder blocks (0: the input of the first) at the last position.

    Prompts are padded on the left, so the last position is every row's last token. Residuals include edits whose hooks
    are already open.
    """
    caught: Residuals = {}

    def make_hook(depth: int) -> Any:
        def store_residual(h: Any) -> None:
            whole = h[0] if isinstance(h, tuple) else h
            caught[depth] = whole[:, -1]

        return store_residual

    handles = []
    for depth in depths:
        keep = make_hook(depth)
        if depth == 0:
            handles.append(layers[0].register_forward_pre_hook(lambda _, args, keep=keep: keep(args)))
        else:
            handles.append(layers[depth - 1].register_forward_hook(lambda _, __, out, keep=keep: keep(out)))
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def index_prompts_by_row(samples: Sequence[int]) -> Int[torch.Tensor, " rows"]:
    """Index of each row's prompt, if prompt i has `samples[i]` rows: [rows]."""
    return torch.arange(len(samples)).repeat_interleave(torch.tensor(samples))


@dataclass
class PairedState:
    """State of a batch for two models."""

    base: DecodingState
    second: DecodingState

    @property
    def firing_counts(self) -> np.ndarray:
        return self.base.firing_counts

    def keep(self, order: np.ndarray) -> None:
        """Shrink both states; see `DecodingState.keep`."""
        self.base.keep(order)
        self.second.keep(order)
