"""From a plan to SAELens's own trainer, built on the random numbers of the plan alone."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float

from elicit import seeds
from saes.plan import ARCHITECTURES, Plan

#: jumprelu: where thresholds start, and how near to them an activation must be to move them. Both in units of
#: sqrt(d_model / k), about the size of an activation when inputs are scaled to length sqrt(d_model). Adam moves a
#: threshold by no more than the learning rate a step, so that from SAELens's 0.01 with a width of 0.05 a short training
#: never gets there (300 steps at k = 8: an L0 of 159; so, 8.6).
_START = 0.25
_BANDWIDTH = 0.5


def build_trainer(plan: Plan, h: Float[torch.Tensor, "token d_model"]) -> Any:
    """An `SAETrainer` at step 0.

    Args:
        h: residuals of the training text, on the device to train on: their mean is where the decoder's bias starts
            (otherwise most of a short training is spent on finding it), and the input is scaled so that the mean
            distance from it is sqrt(d_model). SAELens scales by the mean length, most of which may be the mean.
    """
    import sae_lens
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    kind = ARCHITECTURES[plan.architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.derive_small_seed("sae", plan.seed, plan.architecture, plan.width, h.shape[1]))
        sae = getattr(sae_lens, kind.sae)(getattr(sae_lens, kind.config)(**_build_sae_options(plan, h.shape[1])))
    sae.to(str(h.device))
    trainer: Any = SAETrainer(
        SAETrainerConfig(
            total_training_samples=plan.steps * plan.batch,
            train_batch_size_samples=plan.batch,
            lr=plan.lr,
            lr_end=plan.lr,
            lr_warm_up_steps=min(1000, plan.steps // 20),
            lr_decay_steps=plan.steps // 5,
            device=str(h.device),
            dead_feature_window=max(1, min(1000, plan.steps // 8)),
            feature_sampling_window=plan.steps + 1,  # its statistics are never reset (and wandb never called)
        ),
        sae,
        data_provider=iter(()),
    )
    mean = h.double().mean(0).to(h.dtype)
    trainer.activation_scaler.scaling_factor = math.sqrt(h.shape[1]) / float((h - mean).norm(dim=-1).mean())
    sae.b_dec.data = trainer.activation_scaler(mean)
    return trainer


def _build_sae_options(plan: Plan, d_model: int) -> dict[str, Any]:
    common: dict[str, Any] = {
        "d_in": d_model,
        "d_sae": plan.width,
        "apply_b_dec_to_input": True,
        "normalize_activations": "expected_average_only_in",
    }
    match plan.architecture:
        case "topk":
            return common | {"k": int(plan.k)}
        case "batchtopk":
            return common | {"k": float(plan.k)}
        case "matryoshka_batchtopk":
            widths = sorted({max(1, plan.width // part) for part in (8, 4, 2, 1)})
            return common | {"k": float(plan.k), "matryoshka_widths": widths}
        case _:
            size = math.sqrt(d_model / plan.k)
            return common | {
                "jumprelu_sparsity_loss_mode": "quadratic",  # Gemma Scope 2: the squared distance of L0 from a target
                "target_l0": float(plan.k),
                "l0_coefficient": 1.0,
                "jumprelu_init_threshold": _START * size,
                "jumprelu_bandwidth": _BANDWIDTH * size,
                "jumprelu_ste_to_input": True,
            }


def fold_input_scaling(trainer: Any) -> None:
    """Fold the input scaling into the weights, as `SAETrainer.fit` does at its end."""
    trainer.sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    trainer.activation_scaler.scaling_factor = None
