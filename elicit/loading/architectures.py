"""Parts of a decoder-only language model, found by structure, without a table of architectures.

1. The decoder is transformers' `get_decoder`, or else another part of the model that holds a stack of layers; embedding
and head come from transformers too. 2. The layers are the outermost `ModuleList` below it that has `num_hidden_layers`
entries. 3. A norm (or OPT's `project_out`) next to the list is applied to the last residual. The result is a guess
until it is tested: `elicit.selftest` runs the model and compares.

Every function takes a transformers causal language model, or a `PeftModel` around one, and answers for the plain
transformers model inside.
"""

from __future__ import annotations

import functools
import inspect
import re
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn
from transformers import PreTrainedModel

from elicit.errors import ElicitError, one_line


class Layout(NamedTuple):
    """Attribute paths from the causal language model, and its treatment of positions."""

    decoder: str
    layers: str
    embedding: str
    norm: tuple[str, ...]
    """Modules applied to the last residual before the head, in order; may be empty."""
    head: str
    absolute: bool
    """True for learned or sinusoidal absolute positions, which padding on the left shifts."""
    positions: bool
    """True if the forward pass takes `position_ids`."""


#: config.model_type of models whose SDPA attention accepts a 4D boolean mask (tested for each of them). The
#: others get the 2D mask, from which they build their own: slower by a mask a step, and right for every kind.
READY_MASKS = frozenset({
    *("llama", "mistral", "smollm3", "olmo", "olmo2", "olmo3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"),
    *("phi3", "gpt_neox", "gpt2"),
})  # fmt: skip

_POSITIONS = re.compile(r"wpe|pos(ition(s|al)?)?[_.]|pos(ition)?s?_?embed|Position", re.ASCII)
_ROTARY = re.compile("rotary", re.IGNORECASE)

_LAYOUTS: weakref.WeakKeyDictionary[PreTrainedModel, Layout] = weakref.WeakKeyDictionary()


def get_layout(hf: Any, *, name: str = "") -> Layout:
    """Layout of a model, computed once for every model object.

    Raises:
        ElicitError: a part is not found. `name` is the model's name in the message.
    """
    model = unwrap_model(hf)
    if model not in _LAYOUTS:
        _LAYOUTS[model] = _find_layout(model, name)
    return _LAYOUTS[model]


def _find_layout(model: Any, name: str) -> Layout:
    refuse_encoder_decoder(model.config, name)
    depth = int(model.config.get_text_config(decoder=True).num_hidden_layers)
    decoder, lists = _find_decoder(model, depth)
    paths = {id(module): path for path, module in reversed(list(model.named_modules()))}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    missing = [
        part
        for part, there in [
            ("token embedding", isinstance(embedding, nn.Module)),
            ("language-model head", isinstance(head, nn.Module)),
            (f"list of {depth} layers", bool(lists)),
        ]
        if not there
    ]
    if missing:
        raise ElicitError(
            f"{describe_model(model.config, name)} is not a decoder-only language model that can be used: no "
            f"{missing[0]} was "
            f"found in {type(model).__name__}. Take a causal language model."
        )
    inner = min(lists, key=lambda path: path.count("."))
    where = paths[id(decoder)]
    parent = decoder.get_submodule(inner.rpartition(".")[0])
    return Layout(
        decoder=where,
        layers=f"{where}.{inner}",
        embedding=paths[id(embedding)],
        norm=tuple(f"{paths[id(parent)]}.{part}" for part in _after_layers(parent, inner.rpartition(".")[2])),
        head=paths[id(head)],
        absolute=_has_absolute_positions(decoder, parent, inner),
        positions=_accepts_position_ids(type(model).forward),
    )


def _find_decoder(model: Any, depth: int) -> tuple[Any, list[str]]:
    """The stack below the head, and the lists in it that may be its layers: those of `depth` entries; failing that,
    those of the classes that transformers keeps on one device (`_no_split_modules`)."""
    units = set(model._no_split_modules or ())
    candidates = [part for part in (model.get_decoder(), model.base_model, *model.children()) if part is not model]
    modules = [(part, path, inner) for part in candidates for path, inner in part.named_modules() if path]
    stacks = [entry for entry in modules if isinstance(entry[2], nn.ModuleList) and len(entry[2]) > 0]
    of_depth = [entry for entry in stacks if len(entry[2]) == depth]
    of_kind = [entry for entry in stacks if {type(layer).__name__ for layer in entry[2]} <= units]
    chosen = of_depth or of_kind
    return (chosen[0][0], [path for part, path, _ in chosen if part is chosen[0][0]]) if chosen else (model, [])


def _after_layers(parent: nn.Module, layers: str) -> list[str]:
    """Names of the modules next to the list of layers that follow it: the norm, then OPT's projection."""
    names = [name for name, part in parent.named_children() if part is not None]
    behind = names[names.index(layers) + 1 :]
    norms = [name for name in behind if _is_norm(parent, name)]
    norms = norms or [name for name in names if _is_norm(parent, name) and "final" in name]
    return [*norms[:1], *(name for name in names if name == "project_out")]


def _is_norm(parent: nn.Module, name: str) -> bool:
    return "norm" in type(parent.get_submodule(name)).__name__.lower()


def _has_absolute_positions(decoder: nn.Module, parent: nn.Module, layers: str) -> bool:
    """Return True for a table of positions outside the layers, as a module or (CTRL) as a tensor."""
    outside = [
        f"{name} {type(part).__name__}"
        for name, part in decoder.named_modules()
        if not f"{name}.".startswith(f"{layers}.")
    ]
    return any(_POSITIONS.search(name) and not _ROTARY.search(name) for name in [*outside, *vars(parent)])


@functools.cache
def _accepts_position_ids(forward: Callable[..., Any]) -> bool:
    return "position_ids" in inspect.signature(forward).parameters


def refuse_encoder_decoder(config: Any, name: str) -> None:
    """Raise ElicitError for the config of an encoder-decoder model."""
    if config.is_encoder_decoder:
        raise ElicitError(
            f"{describe_model(config, name)} is an encoder-decoder. Only decoder-only (causal) language models are "
            "supported."
        )


def describe_model(config: Any, name: str) -> str:
    """Beginning of a message: the model's name and its architecture."""
    return f"{one_line(name) or 'this model'} (architecture {one_line(config.model_type, 60)})"


def unwrap_model(hf: Any) -> Any:
    """The transformers model itself: `hf`, or what a `PeftModel` wraps (with its adapter layers still in it).

    Raises:
        ElicitError: `hf` is neither.
    """
    if isinstance(hf, PreTrainedModel):
        return hf
    from peft import PeftModel

    if isinstance(hf, PeftModel):
        return hf.base_model.model
    raise ElicitError(
        f"expected a transformers model or a PeftModel, got {type(hf).__name__}. Type: elicit.load(...).hf"
    )


def get_decoder(hf: Any) -> nn.Module:
    """The stack below the head: takes tokens and returns the last hidden states."""
    return _get_submodule(hf, get_layout(hf).decoder)


def get_decoder_layers(hf: Any) -> nn.ModuleList:
    """The decoder layers, in order. Each returns the residual stream after it (a tensor, or a tuple led by it)."""
    layers = _get_submodule(hf, get_layout(hf).layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


def get_embedding(hf: Any) -> nn.Module:
    """The token embedding."""
    return _get_submodule(hf, get_layout(hf).embedding)


def get_final_norm(hf: Any) -> nn.Module:
    """Module applied to the last residual before the head: a norm; for some OPT models a projection, or nothing."""
    parts = [_get_submodule(hf, path) for path in get_layout(hf).norm]
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def get_lm_head(hf: Any) -> nn.Module:
    """The unembedding. Some families scale or cap its logits: see `logits.compute_model_logits`."""
    return _get_submodule(hf, get_layout(hf).head)


def get_d_model(hf: Any) -> int:
    """Width of the residual stream."""
    return int(unwrap_model(hf).config.get_text_config(decoder=True).hidden_size)


def is_sliding(hf: Any) -> bool:
    """Return True if any layer attends through a window (or in chunks), which a mask must take into account."""
    config = unwrap_model(hf).config.get_text_config(decoder=True)
    kinds = getattr(config, "layer_types", None)
    if kinds:
        windowed = {kind for kind in kinds if kind != "full_attention"}
        return bool(windowed - {"sliding_attention"}) or (
            bool(windowed) and getattr(config, "sliding_window", None) is not None
        )
    return getattr(config, "sliding_window", None) is not None


def has_absolute_positions(hf: Any) -> bool:
    """Return True for absolute position embeddings (GPT-2), which left padding shifts without `position_ids`."""
    return get_layout(hf).absolute


def takes_position_ids(hf: Any) -> bool:
    """Return True if the forward pass takes `position_ids` (Bloom and MPT infer them from the mask)."""
    return get_layout(hf).positions


def check_layer(hf: Any, layer: int) -> int:
    """`layer`, if the model has such a decoder layer.

    Raises:
        ElicitError: the layer is out of range. Negative numbers do not count from the end.
    """
    count = len(get_decoder_layers(hf))
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < count:
        raise ElicitError(
            f"layer {one_line(repr(layer), 40)} does not exist: this {unwrap_model(hf).config.model_type} model has "
            f"{count} "
            f"layers. Type a layer from 0 to {count - 1}."
        )
    return layer


@functools.cache
def find_layers_path(model_type: str) -> str | None:
    """Path of the decoder layers in transformers' models of a `config.model_type`; None for an unknown type.

    The model is built without weights (on torch's meta device) from the type's default config.
    """
    import torch
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    if model_type not in CONFIG_MAPPING or CONFIG_MAPPING[model_type] not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    with torch.device("meta"):
        return get_layout(AutoModelForCausalLM.from_config(CONFIG_MAPPING[model_type]())).layers


def _get_submodule(hf: Any, path: str) -> nn.Module:
    module = unwrap_model(hf).get_submodule(path)
    assert isinstance(module, nn.Module)
    return module
