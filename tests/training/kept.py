"""A small fine-tuning with checkpoints, and how to look at what was kept."""

from __future__ import annotations

import functools
from typing import Any

import torch

from elicit.checkpoints import PolicyDelta
from elicit.methods.finetuning.sft import SFT
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.steering import Steering
from elicit.tasks import get
from elicit.weights import Adapter, FullWeights
from tests.support.models import tiny_model

TASK = get("addition", max_new_tokens=8)
PROBLEMS = TASK.problems("test", 4)
#: 12 steps of 4 rows each.
OPTIONS: dict[str, Any] = {"demonstrations": 8, "epochs": 6, "batch_size": 4, "learning_rate": 3e-3}
STEPS = (2, 5, 8)
KINDS: dict[str, dict[str, Any]] = {"full": {}, "lora": {"lora_rank": 2, "lora_dropout": 0.0}}


@functools.cache
def base_model() -> BaseModel:
    return tiny_model("qwen3")


def fit(kind: str = "full", *, checkpoints: tuple[int, ...] = STEPS, **options: Any) -> Policy:
    method = SFT(**{**OPTIONS, **KINDS[kind], **options}, checkpoints=checkpoints)
    return method.fit(base_model(), TASK, seed=3, needs={})


@functools.cache
def trained(kind: str) -> Policy:
    return fit(kind)


def tensors(change: PolicyDelta | Policy) -> dict[str, torch.Tensor]:
    """Everything that training changed, by name."""
    found = {}
    if change.weights is not None:
        assert isinstance(change.weights, FullWeights | Adapter)
        found |= dict(change.weights.tensors)
    for i, edit in enumerate(change.steering):
        assert isinstance(edit, Steering)
        found[f"vector {i}"] = edit.direction * edit.strength
    return found


def equal(first: PolicyDelta | Policy, second: PolicyDelta | Policy) -> bool:
    one, other = tensors(first), tensors(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
