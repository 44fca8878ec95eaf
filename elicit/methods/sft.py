"""`sft`: plain supervised fine-tuning on demonstrations, the baseline every method is compared with.

Prompt-completion negative log-likelihood on completion tokens only, with TRL's `SFTTrainer`. Demonstrations come from
the train split and the seed picks which; the rows are tokenised here (prompt ids, completion ids, end token), so that
the model is trained on exactly the ids it is sampled with. Full fine-tuning works on a copy of the base and keeps the
changed parameters; LoRA keeps the adapter.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.methods.core import Traits, task_decoding
from elicit.methods.options import check_positive

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task
    from elicit.weights import Weights

#: Sub-strings of parameter names that belong to a group, over all supported architectures.
GROUPS: dict[str, tuple[str, ...]] = {
    "mlp": (".mlp.",),
    "attn": (".self_attn.", ".attn.", ".attention."),
}


@dataclass(frozen=True)
class SFT:
    """Fine-tuning on worked (or direct) solutions."""

    demonstrations: int = 16
    """How many train problems are shown."""
    supervision: Literal["worked", "direct"] = "worked"
    """Train on worked solutions, or on bare answers."""
    parameters: Literal["all", "mlp", "attn"] = "all"
    """Which parameters are trained (after 2605.09270), or carry the LoRA adapter."""
    lora_rank: int | None = None
    """Rank of a LoRA adapter; None trains the parameters themselves."""
    epochs: float = 10.0
    batch_size: int = 8
    learning_rate: float | None = None
    """Peak rate; warm-up over a tenth of the steps (none below 10 steps), then linear decay.
    None: 2e-4 for LoRA, else 1e-3 under 5 M parameters and 1e-5 above (not tuned)."""

    traits: ClassVar[Traits] = Traits(seeded=True, trained=True)

    def __post_init__(self) -> None:
        check_positive(
            "sft",
            demonstrations=self.demonstrations,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            lora_rank=self.lora_rank,
        )

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the task has no worked solutions, or fewer train problems than demonstrations."""
        from elicit.policy import Policy

        examples = self._examples(base, task, seed)
        rate = self.learning_rate or self._default_rate(base)
        if self.lora_rank is not None:
            weights, log = _train_lora(base, examples, self, rate, seed)
        else:
            weights, log = _train_full(base, examples, self, rate, seed)
        total = sum(p.numel() for p in base.hf.parameters())
        seen = int(sum(len(row["input_ids"]) for row in examples) * self.epochs)
        record: dict[str, Any] = {
            "train": {
                # 2 FLOPs per weight and token forward, 2 backward to activations, 2 to the weights that are trained.
                "flops": seen * (4 * total + 2 * min(weights.parameters, total)),
                "tokens": seen,
                "labels": self.demonstrations,
            },
            "learning_rate": rate,
            "trained_values": weights.parameters,
            "losses": log,
        }
        return Policy(base, task_decoding(task), weights=weights, record=record)

    def _default_rate(self, base: BaseModel) -> float:
        if self.lora_rank is not None:
            return 2e-4
        return 1e-3 if sum(p.numel() for p in base.hf.parameters()) < 5_000_000 else 1e-5

    def _examples(self, base: BaseModel, task: Task, seed: int) -> list[dict[str, list[int]]]:
        write = task.worked if self.supervision == "worked" else task.direct
        rows = []
        for problem in task.problems("train", self.demonstrations, seed=seed + 1):
            solution = write(problem)
            if solution is None:
                raise ElicitError(
                    f"sft: problem {problem.id} of task {task.name!r} has no worked solution. "
                    "Use supervision: direct, or add `worked` to the task's file."
                )
            prompt = list(base.encode(problem.prompt))
            completion = [*base.continuation(solution), base.tokenizer.eos_token_id]
            rows.append({"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion})
        return rows


def _train_full(
    base: BaseModel, examples: Sequence[dict[str, list[int]]], config: SFT, rate: float, seed: int
) -> tuple[Weights, list[dict[str, float]]]:
    from elicit.weights import FullWeights

    model = copy.deepcopy(base.hf)
    wanted = GROUPS.get(config.parameters)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(wanted is None or any(part in name for part in wanted))
    log = _run_trainer(model, base.tokenizer, examples, config, rate, seed)
    tensors = {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}
    return FullWeights(tensors), log


def _train_lora(
    base: BaseModel, examples: Sequence[dict[str, list[int]]], config: SFT, rate: float, seed: int
) -> tuple[Weights, list[dict[str, float]]]:
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    from elicit import seeds
    from elicit.weights import Adapter

    assert config.lora_rank is not None
    torch.manual_seed(seeds.small_seed("lora", seed))
    targets = _linear_names(base.hf, GROUPS.get(config.parameters))
    lora = LoraConfig(
        r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules=targets, task_type="CAUSAL_LM"
    )
    # A clone with parameters of its own (embeddings and all): the base must not keep injected modules.
    model = get_peft_model(copy.deepcopy(base.hf), lora)
    log = _run_trainer(model, base.tokenizer, examples, config, rate, seed)
    tensors = {name: t.detach().cpu().clone() for name, t in get_peft_model_state_dict(model).items()}
    described = {k: sorted(v) if isinstance(v, set) else v for k, v in model.peft_config["default"].to_dict().items()}
    return Adapter(described, tensors), log


def _linear_names(hf: Any, parts: tuple[str, ...] | None) -> list[str]:
    """Full names of the decoder's projections in the given groups (all groups if None)."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    wanted = parts if parts is not None else tuple(part for group in GROUPS.values() for part in group)
    return [
        name
        for name, module in hf.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and any(part in f".{name}." for part in wanted)
    ]


def _run_trainer(
    model: Any, tokenizer: Any, examples: Sequence[dict[str, list[int]]], config: SFT, rate: float, seed: int
) -> list[dict[str, float]]:
    """Train in place. Returns the logged losses.

    Raises:
        FloatingPointError: if a loss is not finite.
    """
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    from elicit import seeds

    on_gpu = model.device.type == "cuda"
    steps = math.ceil(math.ceil(len(examples) / config.batch_size) * config.epochs)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SFTConfig(
            output_dir=scratch,
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            learning_rate=rate,
            lr_scheduler_type="linear",
            # A warmed-up schedule's first step has rate 0: with few steps that would be a good part of the training.
            warmup_steps=0.1 if steps >= 10 else 0,
            weight_decay=0.0,
            seed=seeds.small_seed("sft", seed),
            max_length=None,
            use_cpu=not on_gpu,
            bf16=False,
            activation_checkpointing=False,
            report_to="none",
            save_strategy="no",
            logging_steps=5,
            logging_nan_inf_filter=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = SFTTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_list(list(examples)), processing_class=tokenizer
        )
        trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
        trainer.train()
        history = [entry for entry in trainer.state.log_history if "loss" in entry]
    log = [{"step": float(entry["step"]), "loss": float(entry["loss"])} for entry in history]
    if any(entry["loss"] != entry["loss"] for entry in log):
        raise FloatingPointError(f"sft: the loss became NaN (learning rate {rate})")
    return log
