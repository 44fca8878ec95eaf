"""Track the position of every token in the current forward pass.

Steering needs the absolute position of every token and the number of prompt tokens of every row. The sampler and the
scorer know both and set a `PositionFrame` before each forward pass. When other code calls the model (transformers'
`generate`, a trainer, the bridge), the frame is derived from the call's own arguments (2D attention mask, else position
ids, else the cache's length) and the prompt lengths passed to `steer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int

from elicit.errors import ElicitError


@dataclass(frozen=True)
class PositionFrame:
    """Offsets of one forward pass of shape [batch, pos]."""

    shape: tuple[int, int]
    low: int
    """Smallest offset in the pass. With `high`, lets an edit outside its window return immediately."""
    high: int
    offsets: Int[torch.Tensor, "batch pos"] | None
    """None if every row is at the same offset (`low == high`)."""
    real: Bool[torch.Tensor, "batch pos"] | None
    """False at padding; None without padding."""
    rows: np.ndarray | None = None
    """Index of each batch row in `firing_counts`."""
    firing_counts: np.ndarray | None = None
    """Firings per row, incremented by the hooks."""

    def count_firings(self, touched: torch.Tensor | int) -> int:
        """Count firings: `touched` is a mask [batch, pos], or the number of positions touched in every row."""
        if isinstance(touched, int):
            per_row: Any = touched
            total = touched * self.shape[0]
        else:
            per_row = touched.sum(dim=1).cpu().numpy()
            total = int(per_row.sum())
        if self.firing_counts is not None and self.rows is not None:
            self.firing_counts[self.rows] += per_row
        return total


def build_padded_frame(
    real: Bool[torch.Tensor, "batch pos"],
    prompt_lengths: Int[torch.Tensor, " batch"],
    *,
    start: Int[torch.Tensor, " batch"] | None = None,
    rows: np.ndarray | None = None,
    firing_counts: np.ndarray | None = None,
) -> PositionFrame:
    """Build the frame of a padded batch whose rows start at absolute position `start` (default 0)."""
    positions = real.long().cumsum(1) - 1
    if start is not None:
        positions = positions + start[:, None]
    offsets = positions - (prompt_lengths.to(real.device)[:, None] - 1)
    seen = offsets[real]
    low, high = (int(seen.min()), int(seen.max())) if seen.numel() else (0, -1)
    has_padding = not bool(real.all())
    shape = (real.shape[0], real.shape[1])
    return PositionFrame(shape, low, high, offsets, real if has_padding else None, rows, firing_counts)


def build_step_frame(offset: int, rows: np.ndarray, firing_counts: np.ndarray) -> PositionFrame:
    """Build the frame of a decoding step in which every row is at the same offset."""
    return PositionFrame((len(rows), 1), offset, offset, None, None, rows, firing_counts)


def build_spread_frame(
    offsets: Int[np.ndarray, " batch"], rows: np.ndarray, firing_counts: np.ndarray
) -> PositionFrame:
    """Build the frame of a decoding step whose rows are at different offsets (forced openings differ in length)."""
    shape = (len(rows), 1)
    column = torch.from_numpy(offsets)[:, None]
    return PositionFrame(shape, int(offsets.min()), int(offsets.max()), column, None, rows, firing_counts)


class PositionTracker:
    """Holds the frame of the current pass of one model. `explicit` frames override derived ones."""

    def __init__(self) -> None:
        self.explicit: PositionFrame | None = None
        self.derived: PositionFrame | None = None
        self.prompt_lengths: Int[torch.Tensor, " batch"] | None = None
        self.steering: list[Any] = []
        """`hooks.OpenSteering` of every open context, the outer one first."""

    @property
    def frame(self) -> PositionFrame | None:
        return self.explicit or self.derived

    def observe_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Derive the frame from a decoder's call arguments (used as a forward pre-hook)."""
        if self.explicit is not None:
            return
        tokens = kwargs.get("input_ids", args[0] if args else None)
        if tokens is None:
            tokens = kwargs["inputs_embeds"]
        batch, length = tokens.shape[:2]
        mask, position_ids = kwargs.get("attention_mask"), kwargs.get("position_ids")
        if isinstance(mask, torch.Tensor) and mask.ndim == 2:
            # A mask [batch, cached + new], or [batch, new] when nothing was cached before it.
            real = mask.to(torch.bool)
            positions = (real.long().cumsum(1) - 1)[:, -length:]
            real = real[:, -length:]
        else:
            real = torch.ones(batch, length, dtype=torch.bool, device=tokens.device)
            if isinstance(position_ids, torch.Tensor):
                positions = position_ids.expand(batch, length)
            else:
                cache = kwargs.get("past_key_values")
                past = int(cache.get_seq_length()) if cache is not None else 0
                positions = torch.arange(past, past + length, device=tokens.device).expand(batch, length)
        self.derived = self._derive_frame(positions, real)

    def _derive_frame(self, positions: torch.Tensor, real: torch.Tensor) -> PositionFrame:
        batch = positions.shape[0]
        lengths = self.prompt_lengths
        if lengths is None:
            lengths = torch.ones(batch, dtype=torch.long)  # offsets are then absolute positions; only `all` may ask
        elif lengths.numel() not in (1, batch):
            raise ElicitError(
                f"steer: prompt_lengths has {lengths.numel()} entries, but the forward pass has {batch} rows. "
                "Pass one length for every row (repeat them when each prompt is sampled several times), or one number."
            )
        offsets = positions - (lengths.to(positions.device).expand(batch)[:, None] - 1)
        seen = offsets[real]
        low, high = (int(seen.min()), int(seen.max())) if seen.numel() else (0, -1)
        shape = (batch, positions.shape[1])
        return PositionFrame(shape, low, high, offsets, None if bool(real.all()) else real)
