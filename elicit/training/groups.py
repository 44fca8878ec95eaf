"""Groups of parameters by name. Torch-free, so that configs can name them."""

from __future__ import annotations

#: Sub-strings of parameter names that belong to a group, over all supported architectures.
GROUPS: dict[str, tuple[str, ...]] = {
    "mlp": (".mlp.",),
    "attn": (".self_attn.", ".attn.", ".attention."),
    "embeddings": (".embed_tokens.", ".embed_in.", ".wte.", ".wpe.", "lm_head.", "embed_out."),
}
#: Groups whose projections can carry a LoRA adapter.
ADAPTABLE = ("mlp", "attn")
