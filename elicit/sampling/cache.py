"""A key-value cache that writes in place.

transformers' `DynamicCache` concatenates at every step, which copies the whole cache for every token. This one reserves
capacity, writes new entries into it and returns views; it grows geometrically, and rows can be removed. Sliding-window
layers keep their whole past: the model's own mask, built from the cache's length, hides positions outside the window.

The sampler sizes batches so that a cache at full capacity stays within a budget in bytes.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from transformers.cache_utils import Cache, DynamicLayer, get_layer_types_and_kwargs

from elicit.errors import ElicitError, one_line
from elicit.sampling.recurrent import NoLayer, RecurrentLayer


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
        self._store = (self._allocate_like(key_states), self._allocate_like(value_states))
        self.is_initialized = True

    def _allocate_like(self, like: torch.Tensor) -> torch.Tensor:
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
            self._grow_to(end)
        assert self._store is not None
        keys, values = self._store
        keys[:, :, self.length : end] = key_states
        values[:, :, self.length : end] = value_states
        self.length = end
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def _grow_to(self, needed: int) -> None:
        assert self._store is not None
        self.capacity = max(needed, self.capacity + self.capacity // 2)
        grown = []
        for old in self._store:
            new = self._allocate_like(old)
            new[:, :, : self.length] = old[:, :, : self.length]
            grown.append(new)
        self._store = (grown[0], grown[1])

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last positions (a negative number, as in transformers), so that they can be run again."""
        if tokens_to_remove > 0 or self.length + tokens_to_remove < 0:
            raise ValueError(f"crop takes a number from {-self.length} to 0, not {tokens_to_remove}")
        self.length += tokens_to_remove
        assert self._store is not None
        self._set_store(list(self._store))

    def copy_prefix(self, prefix: PreallocatedLayer, rows: int) -> None:
        """Copy the positions of a layer with one row to each of `rows` rows."""
        keys, values = prefix.keys, prefix.values
        self.lazy_initialization(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))
        assert self._store is not None
        for whole, part in zip(self._store, (keys, values), strict=True):
            whole[:, :, : prefix.length] = part
        self.length = prefix.length
        self._set_store(list(self._store))

    def insert_rows(
        self, piece: PreallocatedLayer, order: Int[torch.Tensor, " rows"], first: int, total: int, width: int, head: int
    ) -> None:
        """Insert rows of another layer, from row `first` on, so that they end at position `width`.

        Args:
            order: index of the piece's row for each row to write; an index may occur several times.
            total, width: rows and positions of this layer once all pieces are placed.
            head: number of first positions (a shared prefix) that stay in place. The gap between them and the rest is
                zero: the mask hides it, and it must be finite because a mask does not hide NaN.
        """
        if not self.is_initialized:
            self.capacity = max(self.capacity, width)
            self.lazy_initialization(
                piece.keys[:1].expand(total, -1, -1, -1), piece.values[:1].expand(total, -1, -1, -1)
            )
            self.length = width
        assert self._store is not None
        rows, gap = slice(first, first + len(order)), width - (piece.length - head)
        for whole, part in zip(self._store, (piece.keys, piece.values), strict=True):
            taken = part if len(order) == len(part) else part.index_select(0, order)
            whole[rows, :, :head] = taken[:, :, :head]
            whole[rows, :, head:gap] = 0
            whole[rows, :, gap:width] = taken[:, :, head:]
        self._set_store(list(self._store))

    def drop_rows(self, holes: Int[torch.Tensor, " moved"], movers: Int[torch.Tensor, " moved"], rows: int) -> None:
        """Shrink to `rows` rows in place: rows `movers` (after the new end) replace rows `holes` (before it).

        Only moved rows are copied, so rows can be removed at every step.
        """
        assert self._store is not None
        if len(holes):
            holes, movers = holes.to(self._store[0].device), movers.to(self._store[0].device)
            for whole in self._store:
                whole[holes, :, : self.length] = whole[movers, :, : self.length]
        self._set_store([whole[:rows] for whole in self._store])

    def _set_store(self, store: list[torch.Tensor]) -> None:
        self._store = (store[0], store[1])
        self.keys, self.values = (whole[:, :, : self.length] for whole in self._store)


class HybridLayer(RecurrentLayer, PreallocatedLayer):
    """A layer with both attention and recurrent states (Falcon-H1, Zamba)."""

    def __init__(self, capacity: int, **options: Any) -> None:
        PreallocatedLayer.__init__(self, capacity)
        RecurrentLayer.__init__(self, **options)

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        """Initialise keys and values, passed as two positional arguments, or states, passed by keyword."""
        (PreallocatedLayer if args else RecurrentLayer).lazy_initialization(self, *args, **kwargs)

    def insert_rows(
        self, piece: Any, order: Int[torch.Tensor, " rows"], first: int, total: int, width: int, head: int
    ) -> None:
        RecurrentLayer.insert_rows(self, piece, order, first, total, width, head)
        PreallocatedLayer.insert_rows(self, piece, order, first, total, width, head)

    def drop_rows(self, holes: Int[torch.Tensor, " moved"], movers: Int[torch.Tensor, " moved"], rows: int) -> None:
        RecurrentLayer.drop_rows(self, holes, movers, rows)
        PreallocatedLayer.drop_rows(self, holes, movers, rows)


def preallocate_cache(hf: Any, capacity: int) -> Cache:
    """Build a cache for `hf` (a causal LM) with initial capacity for `capacity` positions per layer."""
    kinds, options = get_layer_types_and_kwargs(hf.config.get_text_config(decoder=True))
    return Cache(layers=[_cache_layer(kind, capacity, more) for kind, more in zip(kinds, options, strict=True)])


#: Types of layers in transformers that keep keys and values of every position (or could).
_ATTENTION = ("full_attention", "sliding_attention", "chunked_attention")
_RECURRENT = ("conv", "linear_attention")
_HYBRID = ("hybrid", "hybrid_sliding")


def _cache_layer(kind: str, capacity: int, options: dict[str, Any]) -> Any:
    if kind in _ATTENTION:
        return PreallocatedLayer(capacity)
    if kind in _RECURRENT:
        return RecurrentLayer(**options)
    if kind in _HYBRID:
        return HybridLayer(capacity, number_of_states=options.get("number_of_states", 1))
    if kind == "dummy":
        return NoLayer()
    raise ElicitError(f"a layer of kind {one_line(kind, 60)} needs a cache that the sampler does not support.")


def cache_bytes_per_token(hf: Any) -> int:
    """Bytes of keys and values per token and row, in the model's dtype."""
    layers = hf.config.get_text_config(decoder=True).per_layer_config  # heads may differ from layer to layer (Gemma 4)
    return int(sum(map(_count_cached_values, layers)) * hf.dtype.itemsize)


def _count_cached_values(layer: Any) -> int:
    """Values per token in the cache of a layer of this config."""
    if getattr(layer, "qk_nope_head_dim", None):  # latent attention: keys and values are kept whole, for every head
        return int(layer.num_attention_heads * (layer.qk_nope_head_dim + layer.qk_rope_head_dim + layer.v_head_dim))
    heads = getattr(layer, "num_key_value_heads", None) or layer.num_attention_heads
    return int(2 * heads * (getattr(layer, "head_dim", None) or layer.hidden_size // layer.num_attention_heads))


#: Default bytes of keys and values in one batch on a CPU, and the largest default on a GPU.
ON_CPU, ON_GPU = 1 << 30, 1 << 33


def default_cache_budget(hf: Any) -> int:
    """Default budget for keys and values of a batch: 1 GiB on a CPU; on a GPU a third of the memory left by the
    weights, at most 8 GiB.

    It depends only on the model and the type of GPU, so that the same run makes the same batches.
    """
    if hf.device.type != "cuda":
        return ON_CPU
    weights = sum(p.numel() * p.itemsize for p in hf.parameters())
    total = torch.cuda.get_device_properties(hf.device).total_memory
    return int(max(1 << 28, min(ON_GPU, (total - weights) // 3)))
