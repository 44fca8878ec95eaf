"""A key-value cache that writes in place.

transformers' `DynamicCache` concatenates at every step, which copies the whole cache for every token. This one keeps
room, writes the new entries into it and hands out views; it grows geometrically, and rows can leave it. Sliding-window
layers keep their whole past: the model's own mask, built from the cache's length, hides what is out of the window.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from transformers.cache_utils import Cache, DynamicLayer


class PreallocatedLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values, [batch heads capacity d_head], filled up to `length`."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0
        self._store: tuple[torch.Tensor, torch.Tensor] | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.capacity = max(self.capacity, key_states.shape[2])
        self._store = (self._room(key_states), self._room(value_states))
        self.is_initialized = True

    def _room(self, like: torch.Tensor) -> torch.Tensor:
        batch, heads, _, width = like.shape
        return like.new_empty(batch, heads, self.capacity, width)

    def update(
        self,
        key_states: Float[torch.Tensor, "batch heads new d_head"],
        value_states: Float[torch.Tensor, "batch heads new d_head"],
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        if end > self.capacity:
            self._grow(end)
        assert self._store is not None
        keys, values = self._store
        keys[:, :, self.length : end] = key_states
        values[:, :, self.length : end] = value_states
        self.length = end
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def _grow(self, needed: int) -> None:
        assert self._store is not None
        self.capacity = max(needed, self.capacity + self.capacity // 2)
        grown = []
        for old in self._store:
            new = self._room(old)
            new[:, :, : self.length] = old[:, :, : self.length]
            grown.append(new)
        self._store = (grown[0], grown[1])

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last positions (a number below 0, as transformers has it): they can then be run again."""
        if tokens_to_remove > 0 or self.length + tokens_to_remove < 0:
            raise ValueError(f"crop takes a number from {-self.length} to 0, not {tokens_to_remove}")
        self.length += tokens_to_remove
        assert self._store is not None
        self._adopt(list(self._store))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row `repeats` times, side by side: the prompt's cache is computed once for all its samples."""
        self.repeat_rows(torch.arange(self.keys.shape[0], device=self.keys.device).repeat_interleave(repeats))

    def batch_select_indices(self, indices: Int[torch.Tensor, " rows"]) -> None:
        self.repeat_rows(indices)

    def drop_rows(self, holes: Int[torch.Tensor, " moved"], movers: Int[torch.Tensor, " moved"], rows: int) -> None:
        """Shrink to `rows` rows in place: rows `movers` (behind the new end) take the places `holes` (before it).

        Only what moves is copied, so rows can leave at every step.
        """
        assert self._store is not None
        if len(holes):
            for whole in self._store:
                whole[holes, :, : self.length] = whole[movers, :, : self.length]
        self._adopt([whole[:rows] for whole in self._store])

    def repeat_rows(self, indices: Int[torch.Tensor, " rows"]) -> None:
        """Take these rows into a new store; a row may come several times."""
        assert self._store is not None
        moved = []
        for old in self._store:
            new = old.new_empty(len(indices), old.shape[1], self.capacity, old.shape[3])
            new[:, :, : self.length] = old[:, :, : self.length].index_select(0, indices)
            moved.append(new)
        self._adopt(moved)

    def _adopt(self, store: list[torch.Tensor]) -> None:
        self._store = (store[0], store[1])
        self.keys, self.values = (whole[:, :, : self.length] for whole in self._store)


def preallocated(hf: Any, capacity: int) -> Cache:
    """A cache for `hf` (a causal LM) with room for `capacity` positions per layer at first."""
    text_config = hf.config.get_text_config(decoder=True)
    return Cache(layers=[PreallocatedLayer(capacity) for _ in range(text_config.num_hidden_layers)])


def bytes_per_token(hf: Any) -> int:
    """Bytes of keys and values that one token of one row takes, in the model's dtype."""
    config = hf.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * hf.dtype.itemsize)
