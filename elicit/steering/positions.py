"""Positions of an edit, parsed once: a window of offsets, or an expression of the language (`elicit.positions`).

Positions count from the first real token. With P real prompt tokens, the *offset* of position p is `p - (P - 1)`, so
offset 0 is the residual that produces the first new token. The windows, which cost nothing at a decoding step, are

    all        every real token
    prompt     offset < 0
    generated  offset >= 0
    first      offset 0                    (= first:1)
    first:k    0 <= offset < k
    decay:k    the same, with strength falling linearly: weight 1 - offset / k
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int

from elicit.positions import PositionExpression, Vocabulary, is_window, parse_expression


@dataclass(frozen=True)
class Positions:
    """A window of offsets `[low, high)` with an optional linear decay."""

    text: str
    low: float
    high: float
    decays: bool = False

    @property
    def reads_tokens(self) -> bool:
        return False

    @property
    def depends_on_offset_alone(self) -> bool:
        return True

    @property
    def needs_prompt_length(self) -> bool:
        return self.text != "all"

    def touches_range(self, low: int, high: int) -> bool:
        """True if any offset in [low, high] lies in the window."""
        return high >= self.low and low < self.high

    def covers_range(self, low: int, high: int) -> bool:
        """True if every offset in [low, high] lies in the window."""
        return low >= self.low and high < self.high

    def weight_at(self, offset: int) -> float:
        """Strength multiplier at one offset: 0 outside the window."""
        if not self.covers_range(offset, offset):
            return 0.0
        return 1.0 - offset / self.high if self.decays else 1.0

    def weights_at(self, offsets: Int[torch.Tensor, "batch pos"]) -> Float[torch.Tensor, "batch pos"]:
        """Strength multiplier at every offset."""
        inside = (offsets >= self.low) & (offsets < self.high)
        if not self.decays:
            return inside.float()
        return inside * (1.0 - offsets.float() / self.high)

    def weights(
        self, ids: Sequence[int], prompt_length: int, vocabulary: Vocabulary | None = None
    ) -> Float[np.ndarray, " pos"]:
        """Strength multiplier at every token of a whole text (prompt and completion), float32."""
        return self.weights_at(torch.arange(len(ids)) - (prompt_length - 1)).float().numpy()

    def resolve(self, ids: Sequence[int], prompt_length: int, vocabulary: Vocabulary | None = None) -> list[int]:
        """Absolute positions of a whole text that the form touches."""
        return [int(position) for position in np.flatnonzero(self.weights(ids, prompt_length))]


@lru_cache(maxsize=256)
def parse(text: str) -> Positions | PositionExpression:
    """Parse a position form.

    Raises:
        ElicitError: the text is not in the language.
    """
    if not (isinstance(text, str) and is_window(text)):
        return parse_expression(text)
    fixed = {
        "all": Positions("all", -math.inf, math.inf),
        "prompt": Positions("prompt", -math.inf, 0),
        "generated": Positions("generated", 0, math.inf),
        "first": Positions("first", 0, 1),
    }
    name, _, count = text.partition(":")
    return fixed[text] if text in fixed else Positions(text, 0, int(count), decays=name == "decay")
