"""Trainable models: a copy of the base with a group of parameters open, or a LoRA adapter on the base's weights.

The base itself is never changed. An adapter lives in a second tree of modules that shares the base's tensors: it needs
no memory for weights, nothing has to be removed when training ends, and only its own `requires_grad` is set.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any, NamedTuple

import torch

from elicit import seeds
from elicit.adapters import clone_sharing_tensors, hub_id
from elicit.errors import ElicitError
from elicit.loading import architectures, devices
from elicit.model import BaseModel
from elicit.training.groups import ADAPTABLE, GROUPS, Lora
from elicit.training.sharding import gather_tensor
from elicit.weights import Adapter, FullWeights, Weights

#: Below this many parameters a model is small: trained in one pass on one thread, with its own default rates.
SMALL = 5_000_000


class TrainableModel(NamedTuple):
    """A model prepared for training."""

    model: Any
    """The model for the trainer: the transformers model, or a PeftModel around it."""
    lora: bool
    base_id: str | None = None
    """The base's hub id, if it has one; an adapter's folder names it as its base."""

    @property
    def hf(self) -> Any:
        """The transformers model inside."""
        return architectures.unwrap_model(self.model)

    def extract_weights(self) -> Weights:
        """The weights that training changed, on the CPU."""
        if self.lora:
            from peft import get_peft_model_state_dict

            # With this option peft does not query the hub to find out whether embeddings were changed.
            state = get_peft_model_state_dict(self.model, save_embedding_layers=False)
            tensors = {name: t.detach().cpu().clone() for name, t in state.items()}
            config = self.model.peft_config["default"].to_dict()
            config["base_model_name_or_path"] = self.base_id  # never a path of this machine
            return Adapter({k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}, tensors)
        named_parameters = self.model.named_parameters()
        return FullWeights(
            {name: gather_tensor(p.detach()).cpu().clone() for name, p in named_parameters if p.requires_grad}
        )


def make_trainable(base: BaseModel, *, group: str = "all", lora: Lora | None = None, seed: int = 0) -> TrainableModel:
    """Copy the base and open the parameters of `group`, or add a LoRA adapter to the group's projections.

    Trained values are always float32: a small step of a bfloat16 value would be rounded away. Under an adapter the
    base's weights keep their type, except float16, whose range is too small for gradients: they are copied to float32,
    as in full training.

    Args:
        group: a key of `GROUPS`, or "all".
        lora: the adapter's options; None trains the parameters themselves.
        seed: determines the adapter's initial values.

    Raises:
        ElicitError: the adapter is for embeddings, or the model is spread over several devices.
    """
    parts = None if group == "all" else GROUPS[group]
    if lora is not None and group not in ("all", *ADAPTABLE):
        raise ElicitError(
            f"a LoRA adapter cannot be put on {group}. Use parameters: all, mlp or attn, or no lora_rank."
        )
    base.require_weights()
    devices.require_one_device(base.hf, "training")
    if lora is None:
        model = copy.deepcopy(base.hf).float()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parts is None or any(part in name for part in parts))
        return TrainableModel(model, lora=False)
    from peft import LoraConfig, get_peft_model

    model = copy.deepcopy(base.hf).float() if base.dtype == torch.float16 else clone_sharing_tensors(base.hf)
    model.name_or_path = ""  # peft would write it into the adapter's configuration
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=int(lora.effective_alpha)
        if lora.effective_alpha == int(lora.effective_alpha)
        else lora.effective_alpha,
        lora_dropout=lora.dropout,
        target_modules=_shorten_target_names(model, find_linear_names(model, parts)),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        torch.manual_seed(seeds.derive_small_seed("lora", seed))
        return TrainableModel(get_peft_model(model, config), lora=True, base_id=hub_id(base))


def find_linear_names(hf: Any, parts: tuple[str, ...] | None) -> list[str]:
    """Full names of the decoder's projections in the given groups (all groups if None)."""
    from transformers.pytorch_utils import Conv1D

    name_parts = parts if parts is not None else tuple(part for group in ADAPTABLE for part in GROUPS[group])
    return [
        name
        for name, module in hf.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and any(part in f".{name}." for part in name_parts)
    ]


def _shorten_target_names(hf: Any, names: list[str]) -> list[str]:
    """Shorten the names of projections to their last part, as is usual in adapter configs, if that is unambiguous."""
    short = sorted({name.rpartition(".")[2] for name in names})
    meant = [name for name, module in hf.named_modules() if name.rpartition(".")[2] in short and module is not hf]
    return short if sorted(meant) == sorted(names) else names


def is_small(hf: Any) -> bool:
    return bool(sum(p.numel() for p in hf.parameters()) < SMALL)


def default_learning_rate(base: BaseModel, lora: Lora | None, *, small: float, large: float, adapter: float) -> float:
    """Default learning rate: `adapter` for LoRA, else by size (`small` under 5 M parameters, `large` above)."""
    if lora is not None:
        return adapter
    return small if is_small(base.hf) else large
