"""Dynamic rotary scaling without a memory of earlier passes.

transformers' dynamic NTK keeps the frequencies of the longest pass so far: after a long text, a shorter one is computed
with the frequencies of the long one. Here every pass begins from the model's own frequencies, so that it depends on its
own length alone (as in a freshly loaded model). `elicit.rotary` decides which rows may share a pass.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from elicit.loading import architectures
from elicit.rotary import length_scaling


def reset_dynamic_rope(hf: Any) -> None:
    """Make the rotary embeddings of `hf` forget earlier passes, by a permanent hook. Idempotent.

    Models whose frequencies do not grow with the length are left alone.
    """
    model = architectures.unwrap_model(hf)
    scaling = length_scaling(model.config)
    if scaling is None or scaling.kind != "dynamic":
        return
    for module in model.modules():
        if "max_seq_len_cached" in vars(module) and "original_max_seq_len" in vars(module):
            module.register_forward_pre_hook(_reset_frequencies)


def _reset_frequencies(module: Any, args: Any) -> None:
    """Restore the original frequencies; a module with kinds of layers has one set per kind, with its name as prefix."""
    kinds = module.rope_type if isinstance(module.rope_type, dict) else {"": module.rope_type}
    for kind, rope in kinds.items():
        prefix = f"{kind}_" if kind else ""
        if "dynamic" in rope:
            _restore_frequencies(module, prefix)


def _restore_frequencies(module: nn.Module, prefix: str) -> None:
    setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)
    frequencies = getattr(module, f"{prefix}inv_freq")
    module.register_buffer(f"{prefix}inv_freq", getattr(module, f"{prefix}original_inv_freq").to(frequencies.device),
                           persistent=False)  # fmt: skip
