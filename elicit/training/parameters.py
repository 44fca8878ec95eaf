"""What is trained: a copy of the base with a group of parameters open, or a LoRA adapter on it.

The base itself is never touched: training works on a copy, and what changed is taken from it as `Weights`.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch

from elicit import seeds
from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.model import BaseModel
from elicit.training.groups import ADAPTABLE, GROUPS
from elicit.weights import Adapter, FullWeights, Weights


class Trainable(NamedTuple):
    """A copy of a base, ready for a trainer."""

    model: Any
    """What the trainer is given: the transformers model, or a PeftModel around it."""
    lora: bool

    @property
    def hf(self) -> Any:
        """The transformers model inside."""
        return architectures.plain(self.model)

    def weights(self) -> Weights:
        """What training changed, on the CPU."""
        if self.lora:
            from peft import get_peft_model_state_dict

            # Told not to save embeddings, peft does not ask the hub whether they were changed.
            state = get_peft_model_state_dict(self.model, save_embedding_layers=False)
            tensors = {name: t.detach().cpu().clone() for name, t in state.items()}
            config = self.model.peft_config["default"].to_dict()
            config["base_model_name_or_path"] = None  # a path of this machine, which the policy's hash must not hold
            return Adapter({k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}, tensors)
        named = self.model.named_parameters()
        return FullWeights({name: p.detach().cpu().clone() for name, p in named if p.requires_grad})


def trainable(base: BaseModel, *, group: str = "all", lora_rank: int | None = None, seed: int = 0) -> Trainable:
    """A copy of the base with the parameters of `group` open, or a LoRA adapter on the group's projections.

    What is trained is float32 whatever the base is: a small step of a bfloat16 value is no step at all.

    Args:
        group: a key of `GROUPS`, or "all".
        lora_rank: rank of the adapter (alpha is twice the rank); None trains the parameters themselves.
        seed: decides the adapter's initial values.

    Raises:
        ElicitError: a LoRA adapter on embeddings.
    """
    parts = None if group == "all" else GROUPS[group]
    if lora_rank is not None and group not in ("all", *ADAPTABLE):
        raise ElicitError(
            f"a LoRA adapter cannot be put on {group}. Use parameters: all, mlp or attn, or no lora_rank."
        )
    model = copy.deepcopy(base.hf)
    if lora_rank is None:
        model = model.float()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parts is None or any(part in name for part in parts))
        return Trainable(model, lora=False)
    from peft import LoraConfig, get_peft_model

    targets = linear_names(model, parts)
    config = LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules=targets, task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.small_seed("lora", seed))
        return Trainable(get_peft_model(model, config), lora=True)


def linear_names(hf: Any, parts: tuple[str, ...] | None) -> list[str]:
    """Full names of the decoder's projections in the given groups (all groups if None)."""
    from transformers.pytorch_utils import Conv1D

    wanted = parts if parts is not None else tuple(part for group in ADAPTABLE for part in GROUPS[group])
    return [
        name
        for name, module in hf.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and any(part in f".{name}." for part in wanted)
    ]


def default_rate(base: BaseModel, lora_rank: int | None, *, small: float, large: float, lora: float) -> float:
    """A learning rate by what is trained: `lora` for an adapter, else by size (`small` under 5 M parameters)."""
    if lora_rank is not None:
        return lora
    return small if sum(p.numel() for p in base.hf.parameters()) < 5_000_000 else large
