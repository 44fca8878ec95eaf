"""A summary of the size of a full comparison, made by rule from known figures: about 40 arms of every family a model.

Nothing is drawn at random: a model's figures follow from the arm's strength and the model's own share of the ability.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from elicit import runs
from elicit.comparison.spec.cells import Cell
from elicit.format_versions import CURRENT_VERSIONS
from elicit.tasks import Problem
from tests.report.support import DOSES, estimate, make_run, versus

#: arm -> (method, share of the gap, tokens an answer, share taught to a model without the ability)
ARMS: dict[str, tuple[str, float, float, float]] = {
    "base": ("base", 0.0, 5, 0),
    "cue_prompt": ("cue_prompt", 1.0, 20, 0),
    "sft": ("sft", 0.74, 20, 0.02),
    "sft/mlp": ("sft", 0.70, 20, 0.01),
    "sft/attn": ("sft", 0.41, 20, 0.01),
    "sft/embeddings": ("sft", 0.12, 9, 0),
    "sft_rules": ("sft", 0.79, 32, 0.03),
    "critique": ("critique", 0.05, 8, 0),
    "critique/same_solutions": ("same_solutions", 0.66, 20, 0.02),
    "critique_one_problem": ("critique", 0.02, 7, 0),
    "grpo": ("grpo", 0.86, 20, 0.02),
    "grpo/random_reward": ("grpo_random_reward", 0.01, 6, 0),
    "grpo/format_only": ("grpo_format_only", 0.31, 20, 0),
    "grpo/wrong_label": ("grpo_wrong_label", -0.01, 9, 0),
    "grpo_full": ("grpo", 0.91, 20, 0.04),
    "rl_steering": ("rl_steering", 0.55, 16, 0),
    "rl_steering/untrained": ("untrained_vector", 0.02, 6, 0),
    "rl_steering_mean": ("rl_steering", 0.97, 20, 0),
    "rl_steering_mean/untrained": ("untrained_vector", 0.9, 20, 0),
    "hybrid_steering": ("hybrid_steering", 0.82, 19, 0),
    "hybrid_steering/random_vector": ("hybrid_control", 0.03, 8, 0),
    "hybrid_steering/random_category": ("hybrid_control", 0.44, 18, 0),
    "hybrid_steering/random_position": ("hybrid_control", 0.1, 12, 0),
    "hybrid_oracle_free": ("hybrid_steering", 0.71, 19, 0),
    "mean_steering": ("mean_steering", 0.99, 20, 0),
    "mean_steering/all_positions": ("same_vector", -0.01, 24, 0),
    "mean_steering/random_vector": ("random_vector", 0.0, 5, 0),
    "sae_steering": ("sae_steering", 0.98, 20, 0),
    "sae_steering/random_feature": ("random_feature", 0.01, 5, 0),
    "sae_steering/wrong_sign": ("same_vector", 0.01, 5, 0),
    "self_consistency": ("self_consistency", 0.08, 80, 0.01),
    "cot_decoding": ("cot_decoding", 0.93, 118, 0),
    "cot_decoding/aggregate": ("cot_decoding", 0.88, 118, 0),
    "power_sampling": ("power_sampling", 0.35, 420, 0.01),
    "best_of_n": ("best_of_n", 0.42, 160, 0.12),
    "budget_forcing": ("budget_forcing", 0.04, 31, 0),
    "contrastive_decoding": ("contrastive_decoding", 0.03, 11, 0),
    "dola": ("dola", 0.01, 10, 0),
    "min_p": ("min_p", 0.02, 6, 0),
    "few_shot": ("few_shot", 0.01, 5, 0),
    "think_prompt": ("think_prompt", 0.0, 5, 0),
}
SAMPLED = ("base", "sft", "grpo")
_TRAINED = ("sft", "critique", "same_solutions", "grpo", "rl_steering", "hybrid_steering")
_KS = tuple(2**i for i in range(9))
TESTED = 200


def entry(name: str, *, base: float, top: float, teaches: bool, model: str) -> dict[str, Any]:
    """One arm's entry on one model."""
    method, gap, tokens, taught = ARMS[name]
    trained = method.startswith(_TRAINED)
    accuracy = base + taught if teaches else base + gap * (top - base)
    withheld = top - base < 0.1
    sft = base + 0.02 if teaches else base + 0.74 * (top - base)
    half = 0.05 if trained else 0.03
    budget = {
        "train_tokens": 48_000.0 if trained else None,
        "train_flops": 1.9e12 if trained else None,
        "fit_generated_tokens": 350_000.0 if "grpo" in method or "rl_" in method else 9_600.0,
        "labels": 16.0 if method == "sft" else None,
        "teacher_tokens": 0.0 if trained else None,
        "fit_seconds": 41.5 if trained else 3.2,
        "seconds": 66.1,
        "answer_tokens": float(tokens),
    }
    k = max(1, round(tokens / 8))
    spent = tokens + ((budget["train_tokens"] or 0) + (budget["fit_generated_tokens"] or 0)) / TESTED
    return {
        "method": method,
        "n": TESTED,
        "seeds": 3 if trained else 1,
        "status": "done",
        "error": None,
        "accuracy": accuracy,
        "ci": [max(0.0, accuracy - 0.04), min(1.0, accuracy + 0.04)],
        "seed_accuracies": [accuracy],
        "trace_rate": estimate(max(0.0, min(1.0, gap)), (0.0, 1.0), TESTED),
        "valid_trace_rate": estimate(max(0.0, min(1.0, gap)), (0.0, 1.0), TESTED),
        "finished_rate": estimate(1.0, (0.98, 1.0), TESTED),
        "tokens_per_problem": estimate(float(tokens), (tokens - 0.5, tokens + 0.5), TESTED),
        "firings_per_problem": 1.0 if "steering" in method else 0.0,
        "pass_at_k": _curve(name, base, accuracy) if name in SAMPLED else None,
        "pass_at_k_valid_trace": _curve(name, base * 0.8, accuracy) if name in SAMPLED else None,
        "majority_at_k": _votes(base) if name == "base" else None,
        "kl": None
        if method in ("cot_decoding", "power_sampling")
        else {
            text: {way: estimate(0.4 * gap if gap > 0 else 0.0, None, 32) for way in ("base_arm", "arm_base")}
            for text in ("task", "neutral")
        },
        "neutral_perplexity": 1.33,
        "repetition": None,
        "compressed": None,
        "off_target": {"mod_chain": estimate(0.14, (0.1, 0.19), TESTED)},
        "train": {"flops": 1.9e12, "tokens": 48_000, "labels": 16} if trained else None,
        "steering": ["add mean(cue)@2 at layer 2, first: 1 residual norms (absolute 9.5)"]
        if "steer" in method
        else None,
        "features": [{"sae": "cued/L1", "feature": 379, "layer": 1}] if method == "sae_steering" else None,
        "seconds": 66.1,
        "gap_recovered": None if withheld or name == "cue_prompt" else gap,
        "gap_ci": None if withheld or name == "cue_prompt" else [gap - half, gap + half],
        "gap_ceiling": "cue",
        "gap_note": "cue - base does not exceed two standard errors (n=200)" if withheld else None,
        "vs_sft": None if name == "sft" else versus(accuracy - sft, half),
        "vs_base": None if name == "base" else versus(accuracy - base, half),
        "vs_parent": {"arm": name.rpartition("/")[0], **versus(accuracy - base - 0.5, half)} if "/" in name else None,
        "budget": budget,
        "verifier": method == "best_of_n",
        "rival": None
        if name in ("base", "cue_prompt")
        else _rival(accuracy, base, k, float(tokens), half, capped=k > 16),
        "rival_total": _rival(accuracy, base, 256, spent, half, capped=True) if trained else None,
        "sharpening": versus(0.9 * (accuracy - base), half) if name in SAMPLED[1:] else None,
        "expansion": {
            "k": 256,
            "solved_only_by_arm": estimate(0.0, (0.0, 0.057), 64),
            "solved_only_by_base": estimate(0.031, (0.009, 0.107), 64),
            "arm_ids": [],
            "valid_trace": True,
        }
        if name in SAMPLED[1:]
        else None,
        "crossover_k": {"sft": 32, "grpo": 64}.get(name),
        "leak": None if teaches or name == "base" else {"model": "incapable", **versus(taught, 0.02)},
        "failed_seeds": [],
        "tuning": {"generated_tokens": 9600, "labels": 16, "n": 16, "split": "select"} if "steer" in method else None,
    }


def _curve(name: str, base: float, accuracy: float) -> dict[str, Any]:
    """pass@k of a guess a try with limits: the base climbs late and high, trained arms are high at once and flat."""
    found = {}
    for k in _KS:
        rate = {"base": 0.03, "sft": 0.55, "grpo": 0.8}[name]
        limit = {"base": 0.97, "sft": 0.86, "grpo": 0.92}[name]
        value = limit * (1 - math.exp(-rate * k))
        found[str(k)] = estimate(value, (max(0.0, value - 0.05), min(1.0, value + 0.05)), 64)
    return found


def _votes(base: float) -> dict[str, Any]:
    return {
        str(k): {
            "accuracy": estimate(
                base + 0.004 * k**0.8, (max(0, base + 0.004 * k**0.8 - 0.02), base + 0.03 + 0.004 * k**0.8), 64
            ),
            "tokens": 8.0 * k,
        }
        for k in _KS
    }


def _rival(accuracy: float, base: float, k: int, tokens: float, half: float, *, capped: bool) -> dict[str, Any]:
    voted = base + 0.004 * min(k, 256) ** 0.8
    return {
        "arm": "base",
        "k": k,
        "tokens": 8.0 * k,
        "accuracy": estimate(voted, (max(0.0, voted - 0.02), voted + 0.03), 64),
        "difference": versus(accuracy - voted, half),
        "capped": capped,
        "note": "the base has 256 samples; the budget would pay for more" if capped else "",
    }


#: model -> (base accuracy, ceiling accuracy, capable)
MODELS = {"cued": (0.005, 0.99, True), "cued-late": (0.07, 0.98, True), "serial": (0.3, 0.93, True)} | {
    "incapable": (0.01, 0.012, False),
    "qwen": (0.16, 0.72, None),
}


def big_summary(models: int = 5, arms: int = 100) -> dict[str, Any]:
    """All arms on the first `models` models."""
    found = {}
    for model, (base, top, capable) in list(MODELS.items())[:models]:
        entries = {
            name: entry(name, base=base, top=top, teaches=capable is False, model=model) for name in list(ARMS)[:arms]
        }
        ceilings = [
            {"kind": "cue", "arm": "cue_prompt", **estimate(top, (top - 0.02, min(1.0, top + 0.01)), TESTED)},
            {
                "kind": "base_pass@k",
                "k": 256,
                "arm": "base",
                **estimate(min(0.97, top), (top - 0.07, min(1.0, top)), 64),
            },
            {"kind": "reference", "arm": "reasoner", **estimate(top - 0.08, (top - 0.11, top - 0.05), TESTED)},
        ]
        guesser = {str(k): 1 - (1 - 1 / 180) ** k for k in _KS}
        task = {"n": TESTED, "guesser": guesser, "ceilings": ceilings, "arms": entries}
        task["samples"] = {"n": 256, "problems": 64}
        found[model] = {"capable": capable, "tasks": {"addition": task}}
    return {"format_version": CURRENT_VERSIONS["summary"], "limit": None, "seeds": 3, "models": found}


def all_sampled(summary: dict[str, Any]) -> dict[str, Any]:
    """The same with samples of every arm, and more tasks: the largest a page may get."""
    for model in summary["models"].values():
        arms = model["tasks"]["addition"]["arms"]
        for one in arms.values():
            one |= {key: arms["base"][key] for key in ("pass_at_k", "pass_at_k_valid_trace")}
            one |= {key: arms["grpo"][key] for key in ("sharpening", "expansion")}
            one["off_target"] = {f"task{i}": one["off_target"]["mod_chain"] for i in range(3)}
    return summary


def curve(seed: int, steps: int = 200) -> list[dict[str, Any]]:
    """A training curve that rises, the same for every arm."""
    return [
        {
            "step": step,
            "loss": 2.0 * math.exp(-step / 40) + 0.05 * seed,
            "reward": 1 - math.exp(-step / (50 + 10 * seed)),
            "entropy": 1.2 * math.exp(-step / 90),
            "length": 6 + 14 * (1 - math.exp(-step / 60)),
            "clipped": 0.3 * math.exp(-step / 30),
            "zero_variance": min(1.0, 0.2 + step / 400),
        }
        for step in range(steps)
    ]


def make_big_run(run: Path, *, models: int = 5, length: int = 1200, test: int = 24, seeds: int = 3) -> None:
    """A run directory of that size. Every arm writes something else, as long as a real trace."""
    arms = {name: {"method": "self_consistency", "n": 2 + i} for i, name in enumerate(ARMS)}
    arms["base"] = {"method": "base"}
    pilot = {"problems": 64, "samples": 8, "kept": 31, "unsolved": ["a", "b"], "always": ["c"]}
    trained = {name: {"curve": curve(1), "pilot": pilot} for name in ARMS if ARMS[name][0].startswith(_TRAINED)}
    steered = {
        name: {"dose_response": DOSES, "chosen": DOSES[3], "chosen_on": {"split": "select", "n": 8}}
        for name in ("mean_steering", "sae_steering")
    }

    def says(cell: Cell, problem: Problem, index: int) -> str:
        trace = " ".join(f"{cell.arm} step {i} of {problem.id}" for i in range(200))
        right = index % 10 < 10 * ARMS[cell.arm][1]
        return trace[:length] + (f"#{problem.answer}" if right else "#0")

    make_run(
        run,
        models=dict.fromkeys(list(MODELS)[:models], "cued"),
        arms=arms,
        test=test,
        seeds=seeds,
        samples=0,
        off_target=[],
        completion=says,
        records={**trained, **steered},
    )
    runs.write_json(run / "summary.json", all_sampled(big_summary(models)))
