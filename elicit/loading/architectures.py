"""Where the parts of a decoder sit, by architecture: one line in a table each.

Every function takes a transformers causal language model, or a `PeftModel` around one, and answers for the plain
transformers model inside.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from torch import nn
from transformers import PreTrainedModel

from elicit.errors import ElicitError, did_you_mean, one_line


class Layout(NamedTuple):
    """Attribute paths from the causal language model, and how it treats positions."""

    layers: str
    embedding: str
    norm: str
    sliding: Literal["never", "layer_types", "window"] = "never"
    """Where a sliding window is declared: nowhere, per layer in `config.layer_types`, or for all layers at once in
    `config.sliding_window`."""
    absolute: bool = False
    """Learned absolute positions: padding on the left shifts them."""
    head: str = "lm_head"


_LLAMA = Layout("model.layers", "model.embed_tokens", "model.norm")
_PER_LAYER = _LLAMA._replace(sliding="layer_types")

#: config.model_type -> layout. A new architecture is one line here and one builder in tests/support/tiny.py.
LAYOUTS: dict[str, Layout] = {
    "llama": _LLAMA,
    "mistral": _LLAMA._replace(sliding="window"),
    "smollm3": _PER_LAYER,
    "olmo": _LLAMA,
    "olmo2": _LLAMA,
    "olmo3": _PER_LAYER,
    "qwen2": _PER_LAYER,
    "qwen3": _PER_LAYER,
    "gemma": _LLAMA,
    "gemma2": _PER_LAYER,
    "gemma3_text": _PER_LAYER,
    "phi3": _LLAMA._replace(sliding="window"),
    "gpt_neox": Layout("gpt_neox.layers", "gpt_neox.embed_in", "gpt_neox.final_layer_norm"),
    "gpt2": Layout("transformer.h", "transformer.wte", "transformer.ln_f", absolute=True),
}


def layout(model_type: str, *, name: str = "") -> Layout:
    """The layout of a `config.model_type`.

    Raises:
        ElicitError: if the architecture is not in the table. `name` is the model the message speaks of.
    """
    if model_type not in LAYOUTS:
        raise ElicitError(
            f"{one_line(name) or 'this model'} has the architecture {one_line(repr(model_type), 60)}, which is not "
            f"supported.{did_you_mean(model_type, LAYOUTS)} Supported: {', '.join(sorted(LAYOUTS))}. "
            "If its decoder is an ordinary stack of layers, add a line to LAYOUTS in elicit/loading/architectures.py."
        )
    return LAYOUTS[model_type]


def plain(hf: Any) -> Any:
    """The transformers model itself: `hf`, or what a `PeftModel` wraps (with its adapter layers still in it).

    Raises:
        ElicitError: if `hf` is neither.
    """
    if isinstance(hf, PreTrainedModel):
        return hf
    from peft import PeftModel

    if isinstance(hf, PeftModel):
        return hf.base_model.model
    raise ElicitError(
        f"expected a transformers model or a PeftModel, got {type(hf).__name__}. Type: elicit.load(...).hf"
    )


def decoder_layers(hf: Any) -> nn.ModuleList:
    """The decoder layers, in order. Each returns the residual stream after it (a tensor, or a tuple led by it)."""
    layers = _part(hf, "layers")
    assert isinstance(layers, nn.ModuleList)
    return layers


def embedding(hf: Any) -> nn.Module:
    """The token embedding."""
    return _part(hf, "embedding")


def final_norm(hf: Any) -> nn.Module:
    """The norm between the last layer and the head."""
    return _part(hf, "norm")


def lm_head(hf: Any) -> nn.Module:
    """The unembedding. Gemma 2 caps its logits after it."""
    return _part(hf, "head")


def d_model(hf: Any) -> int:
    """Width of the residual stream."""
    return int(plain(hf).config.hidden_size)


def is_sliding(hf: Any) -> bool:
    """Whether any layer attends through a sliding window, so that a cache or mask has to know about it."""
    config = plain(hf).config
    declared = layout(config.model_type).sliding
    if declared == "never" or config.sliding_window is None:
        return False
    return declared == "window" or "sliding_attention" in config.layer_types


def absolute_positions(hf: Any) -> bool:
    """Whether positions are absolute embeddings (GPT-2), which left padding shifts unless `position_ids` are given."""
    return layout(plain(hf).config.model_type).absolute


def check_layer(hf: Any, layer: int) -> int:
    """`layer`, if there is such a decoder layer.

    Raises:
        ElicitError: if it is out of range. Negative numbers do not count from the end.
    """
    count = len(decoder_layers(hf))
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < count:
        raise ElicitError(
            f"layer {one_line(repr(layer), 40)} does not exist: this {plain(hf).config.model_type} model has {count} "
            f"layers. Type a layer from 0 to {count - 1}."
        )
    return layer


def _part(hf: Any, part: Literal["layers", "embedding", "norm", "head"]) -> nn.Module:
    model = plain(hf)
    where: str = getattr(layout(model.config.model_type), part)
    found = model.get_submodule(where)
    assert isinstance(found, nn.Module)
    return found
