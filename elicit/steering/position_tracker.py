"""Track the position of every token in the current forward pass.

Steering needs the absolute position of every token and the number of prompt tokens of every row. The sampler and the
scorer know both and set a `PositionFrame` before each forward pass. When other code calls the model (transformers'
`generate`, a trainer, the bridge), the frame is derived from the call's own arguments (2D attention mask, else position
ids, else the cache's length) and the prompt lengths passed to `steer`.

Forms that read tokens need the text of every row as well: frames then carry it (`texts`). It is noted only while such a
form is open (`reads_rows`), so that other edits cost nothing more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from elicit.errors import ElicitError
from elicit.positions import PositionExpression, Row, Vocabulary
from elicit.steering.past_tokens import note_past, read_past
from elicit.steering.vocabulary import build_vocabulary


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
    texts: Sequence[Sequence[int]] | None = None
    """Real tokens of every row from its beginning to the end of this pass; None unless a form reads rows."""
    weighed: dict[str, Float[torch.Tensor, "batch pos"]] = dataclasses.field(default_factory=dict)
    """Weights of expressions that were computed for this pass, by their text."""

    def weigh_rows(
        self, expression: PositionExpression, vocabulary: Vocabulary | None
    ) -> Float[torch.Tensor, "batch pos"]:
        """Strength multiplier at every position of the pass: 0 at padding."""
        if expression.text not in self.weighed:
            if self.texts is None:
                raise RuntimeError(f"positions {expression.text!r} read tokens that this pass did not announce")
            real = np.ones(self.shape, dtype=bool) if self.real is None else self.real.cpu().numpy()
            offsets = np.full(self.shape, self.low) if self.offsets is None else self.offsets.cpu().numpy()
            offsets = np.broadcast_to(offsets, self.shape)
            weights = np.zeros(self.shape, dtype=np.float32)
            for i in range(self.shape[0]):
                columns = np.flatnonzero(real[i])
                if len(columns):
                    ids = self.texts[i]
                    prompt_length = len(ids) - int(offsets[i, columns[-1]])
                    weights[i, columns] = expression.weigh_row(
                        Row(ids, prompt_length, len(ids) - len(columns), vocabulary)
                    )
            self.weighed[expression.text] = torch.from_numpy(weights)
        return self.weighed[expression.text]

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
    texts: Sequence[Sequence[int]] | None = None,
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
    return PositionFrame(shape, low, high, offsets, real if has_padding else None, rows, firing_counts, texts)


def build_step_frame(
    offset: int, rows: np.ndarray, firing_counts: np.ndarray, texts: Sequence[Sequence[int]] | None = None
) -> PositionFrame:
    """Build the frame of a decoding step in which every row is at the same offset."""
    return PositionFrame((len(rows), 1), offset, offset, None, None, rows, firing_counts, texts)


def build_spread_frame(
    offsets: Int[np.ndarray, " batch"],
    rows: np.ndarray,
    firing_counts: np.ndarray,
    texts: Sequence[Sequence[int]] | None = None,
) -> PositionFrame:
    """Build the frame of a decoding step whose rows are at different offsets (forced openings differ in length)."""
    shape = (len(rows), 1)
    column = torch.from_numpy(offsets)[:, None]
    return PositionFrame(shape, int(offsets.min()), int(offsets.max()), column, None, rows, firing_counts, texts)


class PositionTracker:
    """Holds the frame of the current pass of one model. `explicit` frames override derived ones."""

    def __init__(self, tokenizer: Any = None) -> None:
        """Args:
        tokenizer: the model's own, for position forms that read tokens.
        """
        self.tokenizer = tokenizer
        self.expressions: list[PositionExpression] = []
        """Position expressions of the edits that are open."""
        self.explicit: PositionFrame | None = None
        self.derived: PositionFrame | None = None
        self.prompt_lengths: Int[torch.Tensor, " batch"] | None = None
        self.steering: list[Any] = []
        """`hooks.OpenSteering` of every open context, the outer one first."""

    @property
    def frame(self) -> PositionFrame | None:
        return self.explicit or self.derived

    @property
    def reads_rows(self) -> bool:
        """True if an open edit's positions depend on more than offsets, so that frames need the rows' tokens."""
        return bool(self.expressions)

    @property
    def vocabulary(self) -> Vocabulary | None:
        return None if self.tokenizer is None else build_vocabulary(self.tokenizer)

    def check_expression(self, expression: PositionExpression) -> None:
        """Raise ElicitError if the tokenizer cannot write what an expression names."""
        if not expression.reads_tokens:
            return
        vocabulary = self.vocabulary
        if vocabulary is None:
            raise ElicitError(
                f"steer: positions {expression.text!r} read tokens, and this model was given without its tokenizer. "
                "Use elicit.load or elicit.wrap(hf_model, tokenizer)."
            )
        expression.check(vocabulary)

    def observe_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Derive the frame from a decoder's call arguments (used as a forward pre-hook)."""
        tokens = kwargs.get("input_ids", args[0] if args else None)
        if self.explicit is not None:
            if self.reads_rows and self.explicit.texts is None and tokens is not None:  # a pass over whole texts
                self.explicit = dataclasses.replace(self.explicit, texts=_list_tokens(tokens, self.explicit.real))
            return
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
        if self.reads_rows:
            texts = self._continue_texts(kwargs, tokens, positions, real)
            self.derived = dataclasses.replace(self.derived, texts=texts)

    def observe_output(self, output: Any) -> None:
        """Note the tokens of a foreign pass on the cache that it returns (used as a forward hook of the decoder)."""
        cache = getattr(output, "past_key_values", None)
        if self.explicit is None and cache is not None and self.derived is not None and self.derived.texts is not None:
            note_past(cache, [list(row) for row in self.derived.texts])

    def _continue_texts(
        self, kwargs: dict[str, Any], tokens: torch.Tensor, positions: torch.Tensor, real: torch.Tensor
    ) -> list[list[int]]:
        """Tokens of every row of a foreign pass: those that its cache stands for, and the new ones."""
        if tokens.ndim != 2:
            raise ElicitError(
                f"steer: positions {self.expressions[0].text!r} read tokens, and this call passes embeddings. "
                "Pass input_ids."
            )
        before, new = read_past(kwargs.get("past_key_values")), _list_tokens(tokens, real)
        starts = [int(row[flags][0]) if bool(flags.any()) else 0 for row, flags in zip(positions, real, strict=True)]
        if not any(starts):
            return new
        if (
            before is None
            or len(before) != len(new)
            or any(len(row) < n for row, n in zip(before, starts, strict=True))
        ):
            raise ElicitError(
                f"steer: positions {self.expressions[0].text!r} read the text from its beginning, and this call goes "
                "on from a cache that was filled outside the context. Run the prompt inside it, too."
            )
        return [row[:start] + more for row, start, more in zip(before, starts, new, strict=True)]

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


def _list_tokens(tokens: torch.Tensor, real: torch.Tensor | None) -> list[list[int]]:
    """The real tokens of every row."""
    if real is None:
        return tokens.tolist()
    flags = real.to(tokens.device)
    return [row[mask].tolist() for row, mask in zip(tokens, flags, strict=True)]
