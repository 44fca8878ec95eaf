"""Rotary scaling in GGUF files, which transformers ignores.

Llama 3.1 and later stretch their low rotary frequencies. A config.json states the rule; a GGUF file holds the resulting
divisors as a tensor, and a model converted without them silently differs. The rule is recovered from the tensor if it
is Llama 3's, and every other kind of scaling is refused.
"""

from __future__ import annotations

from typing import Any

import torch

from elicit.errors import ElicitError

#: The same in every Llama 3.x config; only the factor differs (8, or 32 for the small ones).
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def restore_rope_scaling(config: Any, extras: dict[str, Any], name: str) -> None:
    """Write the file's rotary scaling into `config.rope_parameters`.

    Args:
        config: the converted model's config.
        extras: the file's `rope.scaling.*` fields and `rope_f*` tensors, by name.
        name: the file, for the message.

    Raises:
        ElicitError: a scaling other than Llama 3's.
    """
    fields = {key: value for key, value in extras.items() if key.startswith("rope.scaling.")}
    factor = fields.get("rope.scaling.factor", 1.0 if fields.get("rope.scaling.type", "none") == "none" else None)
    others = [key for key in extras if key.startswith("rope_factors")]
    if factor != 1.0 or others:
        raise ElicitError(
            f"{name} scales its rotary positions ({', '.join(sorted([*fields, *others]))}), which transformers drops "
            "when it converts GGUF: the model would not be the same. Load its safetensors folder instead."
        )
    divisors = extras.get("rope_freqs.weight")
    if divisors is None or bool((divisors == 1).all()):
        return
    parameters = {**config.rope_parameters, **_LLAMA3, "rope_type": "llama3", "factor": float(divisors.max())}
    if not torch.allclose(_llama3_divisors(parameters, 2 * divisors.numel()), divisors, rtol=1e-3):
        raise ElicitError(
            f"{name} scales its rotary frequencies (rope_freqs.weight) by another rule than Llama 3's, which cannot be "
            "expressed in a config. Load its safetensors folder instead."
        )
    config.rope_parameters = parameters


def _llama3_divisors(parameters: dict[str, Any], head_dim: int) -> torch.Tensor:
    """Divisor of each rotary frequency in Llama 3's scaling, by transformers' own rule."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    # The frequencies before the division come from unscaled RoPE with the same base.
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    plain = torch.pow(float(parameters["rope_theta"]), -exponents)
    config = LlamaConfig(head_dim=head_dim, max_position_embeddings=131_072, rope_parameters=parameters)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    return torch.div(plain, scaled)
