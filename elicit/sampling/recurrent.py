"""Cache layers without keys and values: states of convolutions and linear attention, and layers without a cache.

Their size does not grow with the text. Rows are added and removed as in `cache.PreallocatedLayer`; going back a
position is impossible, because a state does not keep its past.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from transformers.cache_utils import DummyLayer, LinearAttentionLayer

from elicit.errors import ElicitError


class RecurrentLayer(LinearAttentionLayer):  # type: ignore[misc]  # transformers is untyped
    """One layer's convolution and recurrent states, by row."""

    def copy_prefix(self, prefix: Any, rows: int) -> None:
        """Copy the states of a layer with one row to each of `rows` rows."""
        self._copy_rows(prefix, torch.zeros(rows, dtype=torch.long), 0, rows)

    def insert_rows(
        self, piece: Any, order: Int[torch.Tensor, " rows"], first: int, total: int, width: int, head: int
    ) -> None:
        """Insert rows of another layer, from row `first` on. `width` and `head` are for layers with positions."""
        self._copy_rows(piece, order, first, total)

    def _copy_rows(self, piece: Any, order: torch.Tensor, first: int, total: int) -> None:
        self.dtype, self.device = piece.dtype, piece.device
        self.has_previous_state = dict(piece.has_previous_state)
        self.conv_kernel_size = dict(piece.conv_kernel_size)
        self.is_conv_states_initialized = dict(piece.is_conv_states_initialized)
        self.is_recurrent_states_initialized = dict(piece.is_recurrent_states_initialized)
        for target, source in ((self.conv_states, piece.conv_states), (self.recurrent_states, piece.recurrent_states)):
            for index, state in source.items():
                if state is None:
                    continue
                if target[index] is None:
                    target[index] = state.new_zeros(total, *state.shape[1:])
                target[index][first : first + len(order)] = state.index_select(0, order.to(state.device))

    def drop_rows(self, holes: Int[torch.Tensor, " moved"], movers: Int[torch.Tensor, " moved"], rows: int) -> None:
        """Shrink to `rows` rows in place: rows `movers` (after the new end) replace rows `holes` (before it)."""
        for states in (self.conv_states, self.recurrent_states):
            for index, state in states.items():
                if state is None:
                    continue
                if len(holes):
                    state[holes.to(state.device)] = state[movers.to(state.device)]
                states[index] = state[:rows]

    def crop(self, tokens_to_remove: int) -> None:
        """Raise ElicitError: states cannot go back."""
        raise ElicitError(
            "this model keeps recurrent states, which cannot go back a token: hybrid decoding cannot be used with it."
        )


class NoLayer(DummyLayer):  # type: ignore[misc]
    """A layer without a cache (it has no attention, or reads another layer's)."""

    def copy_prefix(self, prefix: Any, rows: int) -> None:
        """Do nothing: there are no states."""

    def insert_rows(self, piece: Any, order: torch.Tensor, first: int, total: int, width: int, head: int) -> None:
        """Do nothing: there are no rows."""

    def drop_rows(self, holes: torch.Tensor, movers: torch.Tensor, rows: int) -> None:
        """Do nothing: there are no rows."""
