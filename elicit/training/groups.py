"""Groups of parameters by name, and the options of a LoRA adapter. Imports no torch, for configs."""

from __future__ import annotations

from dataclasses import dataclass

#: Substrings of the names of a group's parameters, over all supported architectures.
GROUPS: dict[str, tuple[str, ...]] = {
    "mlp": (".mlp.",),
    "attn": (".self_attn.", ".attn.", ".attention."),
    "embeddings": (".embed_tokens.", ".embed_in.", ".wte.", ".wpe.", "lm_head.", "embed_out."),
}
#: Groups whose projections can carry a LoRA adapter.
ADAPTABLE = ("mlp", "attn")


@dataclass(frozen=True)
class Lora:
    """A LoRA adapter (2106.09685): W + (alpha / rank) B A, with A and B trained."""

    rank: int
    alpha: float | None = None
    """None: twice the rank, so that the adapter's output is scaled by 2 at any rank."""
    dropout: float = 0.0
    """Dropout on the adapter's input while training. RL uses none: the sampled and the trained model must be equal."""

    @property
    def effective_alpha(self) -> float:
        return 2.0 * self.rank if self.alpha is None else self.alpha
