"""A TransformerBridge for analysis: caches, logit lens, attention patterns, SAE training.

Bridging rewrites a module tree in place: afterwards `save_pretrained` raises, peft finds nothing and a saved state dict
reloads as another model. So the bridge gets a clone of the modules that shares every Parameter and buffer with the
original: it needs no extra memory and sees updates of the weights at once.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from elicit.errors import ElicitError, one_line
from elicit.loading import architectures
from elicit.loading.offline import block_installs

#: Families whose fused projections TransformerLens 3.9 reads by their `weight`, bypassing any adapter layer.
_FUSED = ("gpt2", "gpt_neox", "phi3")


def bridge_view(hf: Any, tokenizer: Any) -> Any:
    """A `TransformerBridge` (TransformerLens 3.9) on a clone that shares the weights of `hf`.

    Build it after the model is on its device, and again whenever Parameter objects are replaced rather than updated
    (an adapter added or merged, embeddings resized, another device). Its attention is the eager one, so float32 logits
    agree with a model that runs SDPA to rounding, not bit for bit. Nothing is installed or downloaded.

    Args:
        hf: a transformers model, or a PeftModel, whose inner model is viewed with its adapter layers.
        tokenizer: its tokenizer. The bridge gets a copy.

    Raises:
        ElicitError: an architecture that TransformerLens cannot bridge, or an adapter that its bridge would silently
            ignore.
    """
    from transformer_lens.model_bridge import TransformerBridge

    model = architectures.unwrap_model(hf)
    _refuse_unseen_adapter(model)
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    clone = copy.deepcopy(model, shared)
    _remove_hooks(clone)
    # Models built in memory lack this, and TransformerLens finds some architectures only by it.
    clone.config.architectures = [type(clone).__name__]
    family = model.config.model_type
    try:
        with block_installs():
            bridge = TransformerBridge.boot_transformers(
                family,  # only a label: nothing is looked up when a model is given
                hf_model=clone,
                tokenizer=_copy_tokenizer(tokenizer),
                device=model.device,
                dtype=model.dtype,
            )
        if family == "gpt_neox":
            _follow_fused_weights(bridge)
        distance = None if family in architectures.READY_MASKS else _relative_logit_distance(model, bridge)
    except Exception as error:  # TransformerLens fails in many ways on unknown architectures
        raise ElicitError(
            f"TransformerLens has no working bridge for the architecture {one_line(family, 60)} "
            f"({type(error).__name__}: {one_line(error, 150)}). Sampling, steering, scoring and training work without."
        ) from error
    if distance is not None and not distance < 0.05:
        raise ElicitError(
            f"the bridge that TransformerLens builds for the architecture {one_line(family, 60)} is another model: its "
            f"logits are {distance:.2g} away, relative to their size. Sampling, steering, scoring and training work "
            "without."
        )
    return bridge


def _remove_hooks(model: Any) -> None:
    """Take off hooks that were copied with the modules: those of an open steering context would never end."""
    for module in model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks):
            hooks.clear()


def _relative_logit_distance(model: Any, bridge: Any) -> float:
    """Largest difference between the logits of a bridge and its model on a few tokens, relative to their size."""
    training = model.training
    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(6, device=model.device)[None] * (rows // 6)
    try:
        with torch.no_grad():
            bridge_logits, model_logits = bridge.eval()(ids).float(), model.eval()(ids).logits.float()
    finally:
        model.train(training)
        bridge.train(training)
    return float((bridge_logits - model_logits).norm() / model_logits.norm().clamp(min=1e-30))


def _refuse_unseen_adapter(model: Any) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    family = model.config.model_type
    if family in _FUSED and any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise ElicitError(
            f"the bridge of TransformerLens does not see adapters on {family}, whose projections are fused: it would "
            "show the base model. Merge the adapter first: hf = hf.merge_and_unload()"
        )


def _copy_tokenizer(tokenizer: Any) -> Any:
    """Copy of the tokenizer that TransformerLens accepts unchanged.

    It would otherwise read the tokenizer again from `name_or_path` (a KeyError for one made in memory, a network call
    for a hub id) to switch BOS on, and lose a pad token added since. It still finds out by encoding a text if BOS is
    put in front.
    """
    tokenizer_copy = copy.deepcopy(tokenizer)
    tokenizer_copy.init_kwargs = {
        "name_or_path": tokenizer_copy.name_or_path,
        **tokenizer_copy.init_kwargs,
        "add_bos_token": True,
    }
    return tokenizer_copy


def _follow_fused_weights(bridge: Any) -> None:
    """Copy GPT-NeoX's fused projection into the bridge's q, k and v before every forward pass.

    Its rows are interleaved by head, so TransformerLens keeps copies, which would not see updates of the original. (W_Q
    and the like, read without a forward pass in between, are those of the last pass.)
    """

    def copy_fused_weights(attention: Any, _: Any) -> None:
        with torch.no_grad():
            parts = attention.split_qkv_matrix(attention.original_component)
            for projection, part in zip((attention.q, attention.k, attention.v), parts, strict=True):
                projection.original_component.load_state_dict(part.state_dict())

    for block in bridge.blocks:
        block.attn.register_forward_pre_hook(copy_fused_weights)
