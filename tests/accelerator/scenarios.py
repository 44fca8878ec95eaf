"""The lab's main paths on one device, each as plain data that can be compared with another device's.

python -m tests.accelerator cpu --out cpu.json
python -m tests.accelerator simulated --out simulated.json
python -m tests.accelerator cuda:0 --out gpu.json --against cpu.json
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch

import elicit
import saes
from elicit.evaluation.side_effects import generate_greedy_answers
from elicit.methods.catalog import configure_method
from elicit.policy import Policy
from elicit.sampling import Decoding, measure_divergences
from elicit.steering import Edit, Gate, GatedEdit, Steering, parse
from tests.support.arms import OPTIONS, few_steps_of_autoencoders

GREEDY = Decoding(max_new_tokens=16)
SAMPLED = Decoding(temperature=1.0, top_p=0.9, top_k=20, min_p=0.01, max_new_tokens=16, stop=("\n", "#1"))


class Bench(NamedTuple):
    """One base model on one device, with a task and prompts."""

    model: elicit.BaseModel
    task: Any
    prompts: list[str]

    def direction(self) -> torch.Tensor:
        return torch.randn(self.model.d_model, generator=torch.Generator().manual_seed(0))


@functools.cache
def bench(device: str) -> Bench:
    task = elicit.tasks.get("addition", max_new_tokens=32)
    problems = task.problems("test", 6)
    prompts = [problem.prompt for problem in problems] + [problems[0].prompt * 2]  # one longer: a padded batch
    return Bench(elicit.load("cued", device=device), task, prompts)


def texts(completions: Any) -> list[str]:
    return [completion.text for drawn in completions for completion in drawn]


# --- sampling, scoring, looking ---------------------------------------------------------------------------------


def sampling(device: str) -> dict[str, Any]:
    model, _, prompts = bench(device)
    drawn = model.sample(prompts, n=3, decoding=SAMPLED)
    return {
        "greedy": texts(model.sample(prompts, decoding=GREEDY)),
        "sampled": texts(drawn),
        "finish": [completion.finish for row in drawn for completion in row],
        "logprobs": [p for row in drawn for completion in row for p in completion.logprobs],
        "score": model.score(prompts, [" 12"] * len(prompts)),
        "residuals": model.residuals(prompts).norm(dim=-1).tolist(),
        "norms": list(model.residual_norms.medians),
    }


def steering(device: str) -> dict[str, Any]:
    model, _, prompts = bench(device)
    observed: dict[str, Any] = {}
    for mode, positions in (
        *(("add", form) for form in ("first", "all", "prompt", "generated", "first:4", "decay:3")),
        *((mode, "all") for mode in ("clamp", "scale", "ablate")),
    ):
        unit = None if mode == "add" else 50.0
        with model.steer(
            bench(device).direction(),
            layer=1,
            strength=1.0 if mode == "ablate" else 1.5,
            mode=mode,
            positions=positions,
            unit=unit,
        ) as firings:
            observed[f"{mode} {positions}"] = texts(model.sample(prompts, n=2, decoding=SAMPLED))
            observed[f"{mode} {positions} firings"] = list(firings.counts)
            observed[f"{mode} {positions} score"] = model.score(prompts, [" 12"] * len(prompts))
    generator = torch.Generator().manual_seed(1)
    gate = Gate(torch.randn(3, model.d_model, generator=generator), torch.zeros(3))
    gated = GatedEdit(
        gate, torch.randn(2, model.d_model, generator=generator), 1, 1.0, unit=model.residual_norms.medians[1]
    )
    with model.steer(gated):
        observed["gated"] = texts(model.sample(prompts, n=2, decoding=SAMPLED))
    return observed


def gradient_through_a_hook(device: str) -> dict[str, Any]:
    model, _, prompts = bench(device)
    vector = torch.nn.Parameter(torch.zeros(model.d_model, device=model.device))
    ids = torch.tensor([model.encode(prompts[0])], device=model.device)
    edit = Edit(0, parse("all"), lambda h: vector, "trained")
    with model.steer(edit, prompt_lengths=[ids.shape[1]]):
        model.hf(input_ids=ids, labels=ids).loss.backward()
    assert vector.grad is not None
    return {"gradient": vector.grad.norm().item(), "on": vector.grad.device.type == model.device.type}


def low_precision_and_bridge(device: str) -> dict[str, Any]:
    model = elicit.load("cued", device=device, dtype="bfloat16")
    ids = torch.tensor([model.encode(bench(device).prompts[0])], device=model.device)
    whole = bench(device).model
    return {
        "greedy in bfloat16": texts(model.sample(bench(device).prompts, decoding=GREEDY)),
        "bridge": (whole.bridge(ids) - whole.hf(ids).logits).abs().max().item() < 1e-2,
    }


def divergence(device: str) -> dict[str, Any]:
    model, task, _ = bench(device)
    edit = Steering(bench(device).direction(), 1, 1.0, "add", "all", model.residual_norms.medians[1])
    sequences = generate_greedy_answers(Policy(model, GREEDY), task.problems("test", 4))
    result = measure_divergences(model.engine, sequences, nullcontext, lambda: model.steer(edit))
    return {"kl": [[item.base_arm, item.arm_base] for item in result]}


# --- SAEs -------------------------------------------------------------------------------------------------------


def sae_discovery(device: str) -> dict[str, Any]:
    model, _, prompts = bench(device)
    sae = saes.load("cued/L1", device=device)
    residuals = model.residuals(prompts)[1].to(model.device)
    cued = [model.encode(prompt) for prompt in prompts]
    plain = [model.encode(prompt + " ") for prompt in prompts]
    table = saes.discover(
        model.hf, sae, [saes.Span.last(ids) for ids in cued], [saes.Span.last(ids) for ids in plain],
        logit_difference=(5, 7), scorers=["contrast", "auroc", "probe", "attribution", "patching", "dla"],
    )  # fmt: skip
    return {
        "latents": [[i for i, value in enumerate(row) if value > 0] for row in sae.encode(residuals).tolist()],
        "error": (sae.reconstruct(residuals) - residuals).norm().item(),
        "table": table.index[:5].tolist(),
    }


def sae_training(device: str) -> dict[str, Any]:
    model, task, _ = bench(device)
    lines = [model.encode(problem.prompt + task.direct(problem)) for problem in task.problems("train", 96)]
    sae = saes.train(
        model.hf, lines, layer=1, width=32, k=4, tokens=1024, batch=128, buffer=512, model_name=model.name,
        weights_sha256=model.weights_sha256,
    )  # fmt: skip
    residuals = model.residuals([problem.prompt for problem in task.problems("test", 8)])[1]
    return {"error": float((sae.reconstruct(residuals).cpu() - residuals).norm())}


# --- arms -------------------------------------------------------------------------------------------------------

#: arm -> (method, options beside the small ones of the tests, arms it needs).
ARMS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "sft": ("sft", {}, ()),
    "sft with LoRA": ("sft", {"lora_rank": 2}, ()),
    "critique": ("critique", {}, ()),
    "grpo": ("grpo_random_reward", {}, ()),  # a verifier's reward would never differ on so few answers of `cued`
    "grpo with LoRA": ("grpo_random_reward", {"lora_rank": 2}, ()),
    "rl_steering": ("rl_steering_random_reward", {}, ()),
    "mean_steering": ("mean_steering", {}, ()),
    "sae_steering": ("sae_steering", {}, ()),
    "hybrid_steering": ("hybrid_steering", {}, ("sft",)),
    "hybrid_steering with a learned gate": ("hybrid_steering", {"gate": "learned"}, ("sft",)),
    "self_consistency": ("self_consistency", {}, ()),
    "best_of_n": ("best_of_n", {}, ()),
    "cot_decoding": ("cot_decoding", {}, ()),
    "power_sampling": ("power_sampling", {}, ()),
    "budget_forcing": ("budget_forcing", {}, ()),
    "contrastive_decoding": ("contrastive_decoding", {}, ("sft",)),
    "dola": ("dola", {}, ()),
    "few_shot": ("few_shot", {}, ()),
}


@functools.cache
def policy(device: str, arm: str) -> Policy:
    method, options, needs = ARMS[arm]
    config = configure_method(method, {**OPTIONS.get(method, {}), **options})
    fitted = {name: policy(device, name) for name in needs}
    with few_steps_of_autoencoders():
        return config.fit(bench(device).model, bench(device).task, seed=0, needs=fitted)


def answers_of(arm: str, device: str) -> dict[str, Any]:
    _, task, _ = bench(device)
    given = policy(device, arm).answer(task.problems("test", 4), task, label="addition", seed=0)
    return {
        "learning": [entry.get("zero_variance") for entry in policy(device, arm).record.get("curve", [])],
        "texts": [answer.text for answer in given],
        "tokens": [answer.tokens for answer in given],
        "firings": [answer.firings for answer in given],
    }


SCENARIOS: dict[str, Callable[[str], dict[str, Any]]] = {
    "sampling": sampling,
    "steering": steering,
    "gradient through a hook": gradient_through_a_hook,
    "low precision and bridge": low_precision_and_bridge,
    "divergence": divergence,
    "sae discovery": sae_discovery,
    "sae training": sae_training,
    **{arm: functools.partial(answers_of, arm) for arm in ARMS},
}
