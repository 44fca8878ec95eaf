"""Token positions of an edit: a small language, parsed once, resolved by absolute position.

Positions count from the first real token. With P real prompt tokens, the *offset* of position p is `p - (P - 1)`, so
offset 0 is the residual that produces the first new token.

    all        every real token
    prompt     offset < 0
    generated  offset >= 0
    first      offset 0                    (= first:1)
    first:k    0 <= offset < k
    decay:k    the same, with strength falling linearly: weight 1 - offset / k
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int

from elicit.errors import ElicitError, one_line

FORMS = ("all", "prompt", "generated", "first", "first:k", "decay:k")
_COUNTED = re.compile(r"(first|decay):([0-9]{1,6})")


@dataclass(frozen=True)
class Positions:
    """A window of offsets `[low, high)` with an optional linear decay."""

    text: str
    low: float
    high: float
    decays: bool = False

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


def parse(text: str) -> Positions:
    """Parse a position form.

    Raises:
        ElicitError: the text is not one of `FORMS`, or k is 0.
    """
    fixed = {
        "all": Positions("all", -math.inf, math.inf),
        "prompt": Positions("prompt", -math.inf, 0),
        "generated": Positions("generated", 0, math.inf),
        "first": Positions("first", 0, 1),
    }
    if isinstance(text, str) and text in fixed:
        return fixed[text]
    match = _COUNTED.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[2]) == 0:
        quoted = one_line(repr(text), 60)
        raise ElicitError(f"positions: {quoted} is not a position form. Expected one of: {', '.join(FORMS)} (k >= 1).")
    return Positions(text, 0, int(match[2]), decays=match[1] == "decay")
