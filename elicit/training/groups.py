"""What can be trained, by name: groups of parameters, and the numbers of an adapter. Torch-free, for configs."""

from __future__ import annotations

from dataclasses import dataclass

#: Sub-strings of parameter names that belong to a group, over all supported architectures.
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
    """Of the adapter's input while training. Reinforcement trains without: what samples must be what is trained."""

    @property
    def effective_alpha(self) -> float:
        return 2.0 * self.rank if self.alpha is None else self.alpha
