"""A TransformerBridge to look through: caches, logit lens, attention patterns, SAE training.

Bridging rewrites a module tree in place: afterwards `save_pretrained` raises, peft finds nothing and a saved state dict
reloads as another model. So the bridge gets a clone of the modules that shares every Parameter and buffer with the
original: no memory twice, and updates of the weights are seen at once.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from elicit.errors import ElicitError
from elicit.loading import architectures

#: TransformerLens 3.9 reads the fused projections of these by their `weight`, past any adapter layer on them.
_FUSED = ("gpt2", "gpt_neox", "phi3")


def bridge_view(hf: Any, tokenizer: Any) -> Any:
    """A `TransformerBridge` (TransformerLens 3.9) on a clone that shares the weights of `hf`.

    Build it after the model is on its device, and again whenever Parameter objects are replaced rather than updated
    (an adapter added or merged, embeddings resized, another device). Its attention is the eager one, so float32 logits
    agree with a model that runs SDPA to rounding, not bit for bit.

    Args:
        hf: a transformers model, or a PeftModel, of which the model inside is viewed with its adapter layers.
        tokenizer: its tokenizer. The bridge gets a copy.

    Raises:
        ElicitError: for an adapter on an architecture whose bridge would pass it by in silence.
    """
    from transformer_lens.model_bridge import TransformerBridge

    model = architectures.plain(hf)
    architectures.layout(model.config.model_type)
    _refuse_unseen_adapter(model)
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    clone = copy.deepcopy(model, shared)
    # Models built in memory do not say this, and TransformerLens finds some architectures by nothing else.
    clone.config.architectures = [type(clone).__name__]
    bridge = TransformerBridge.boot_transformers(
        model.config.model_type,  # only a label: nothing is looked up when a model is given
        hf_model=clone,
        tokenizer=_own_tokenizer(tokenizer),
        device=model.device,
        dtype=model.dtype,
    )
    if model.config.model_type == "gpt_neox":
        _follow_fused_weights(bridge)
    return bridge


def _refuse_unseen_adapter(model: Any) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    family = model.config.model_type
    if family in _FUSED and any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise ElicitError(
            f"the bridge of TransformerLens does not see adapters on {family}, whose projections are fused: it would "
            "show the base model. Merge the adapter first: hf = hf.merge_and_unload()"
        )


def _own_tokenizer(tokenizer: Any) -> Any:
    """A copy TransformerLens takes as it is.

    It would otherwise read the tokenizer again from `name_or_path` (a KeyError for one made in memory, a network call
    for a hub id) to switch BOS on, and lose a pad token added since. Whether BOS is put in front, it still finds by
    encoding something.
    """
    own = copy.deepcopy(tokenizer)
    own.init_kwargs = {"name_or_path": own.name_or_path, **own.init_kwargs, "add_bos_token": True}
    return own


def _follow_fused_weights(bridge: Any) -> None:
    """Copy GPT-NeoX's fused projection into the bridge's q, k and v before every forward pass.

    Its rows are interleaved by head, so TransformerLens keeps copies, which would not see updates of the original.
    (W_Q and its like, read without a forward pass in between, are those of the last one.)
    """

    def refresh(attention: Any, _: Any) -> None:
        with torch.no_grad():
            parts = attention.split_qkv_matrix(attention.original_component)
            for own, part in zip((attention.q, attention.k, attention.v), parts, strict=True):
                own.original_component.load_state_dict(part.state_dict())

    for block in bridge.blocks:
        block.attn.register_forward_pre_hook(refresh)
