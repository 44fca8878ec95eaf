"""A small training on a tiny random model, and what its rollouts and its trainer saw."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from elicit.checkpoints import PolicyDelta
from elicit.model import BaseModel
from elicit.steering import Edit
from elicit.tasks import Problem, get
from elicit.tasks.sequential import draw_sequentially
from elicit.training.groups import Lora
from elicit.training.parameters import TrainableModel, make_trainable
from elicit.training.rewards import Reward, Rollout
from elicit.training.rollouts import training_engine
from elicit.training.run import RLTrainingResult, RLTrainingSettings, train_with_rewards

#: Drawn one after another: a pool holds next to no short problems.
TASK = draw_sequentially(get("addition", digits=(1, 3)))
#: Prompts of different lengths, so that both paddings are at work.
POOL = TASK.problems("train", 12, seed=3)


def vowels(rollout: Rollout) -> float:
    """A reward that an untrained model earns now and then, and can learn to earn."""
    return float(any(letter in rollout.text for letter in "aeiou"))


class Done(NamedTuple):
    training: RLTrainingResult
    copied: TrainableModel
    values: dict[str, torch.Tensor]
    """The trained values."""


def tiny_training(
    base: BaseModel,
    *,
    reward: Reward = vowels,
    lora_rank: int | None = None,
    edits: Sequence[Edit] = (),
    scratch: Path | None = None,
    problems: Sequence[Problem] = POOL,
    seed: int = 0,
    extra: dict[str, torch.nn.Parameter] | None = None,
    norm_limit: float | None = None,
    identity: Sequence[object] = (),
    checkpoints: Sequence[int] = (),
    **numbers: Any,
) -> Done:
    copied = make_trainable(base, lora=None if lora_rank is None else Lora(lora_rank), seed=seed)
    for name, parameter in (extra or {}).items():
        copied.hf.requires_grad_(False)
        copied.hf.register_parameter(name, parameter)
    defaults = {"steps": 3, "problems": 3, "generations": 4, "learning_rate": 1e-3, "max_new_tokens": 6}
    done = train_with_rewards(
        copied.model,
        training_engine(base, copied.hf),
        TASK,
        problems,
        reward,
        RLTrainingSettings(**{**defaults, **numbers}),
        encode=lambda problem: base.encode(problem.prompt),
        seed=seed,
        method="test",
        edits=edits,
        norm_limit=norm_limit,
        bf16=base.dtype == torch.bfloat16,
        scratch=scratch,
        identity=identity,
        checkpoints=checkpoints,
        copy_change=lambda: PolicyDelta(copied.extract_weights()),
    )
    values = {name: p.detach().clone() for name, p in copied.model.named_parameters() if p.requires_grad}
    return Done(done, copied, values)


def untouched(base: BaseModel) -> dict[str, Any]:
    """Everything of a base that training could disturb."""
    return copy.deepcopy(
        {
            "tensors": {name: tensor.tolist() for name, tensor in base.hf.state_dict().items()},
            "grad": {name: (p.requires_grad, p.grad is None) for name, p in base.hf.named_parameters()},
            "attributes": {name: sorted(vars(module)) for name, module in base.hf.named_modules()},
            "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in base.hf.modules()],
            "modes": [module.training for module in base.hf.modules()],
            "config": base.hf.config.to_dict(),
            "generation": base.hf.generation_config.to_dict(),
            "tokenizer": (repr(base.tokenizer), base.tokenizer.padding_side, base.tokenizer.model_max_length),
        }
    )
