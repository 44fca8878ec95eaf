"""Every method of the catalog as a small arm: options for seconds, its needs, and how its effect is switched off."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

import saes
from elicit.method import Method
from elicit.methods.baselines.forbid_first import ForbidFirstSearch
from elicit.methods.catalog import ALIASES, METHODS, configure_method
from elicit.methods.decoding.contrastive_decoding import ContrastReadout
from elicit.methods.decoding.dola import DolaReadout
from elicit.policy import Policy, Prompting
from elicit.readouts import HybridReadout, SecondModel
from elicit.readouts.instead import ReplacementModel
from elicit.search import (
    BudgetForcingSearch,
    CotDecodingSearch,
    LikeliestBestOfN,
    MajorityVote,
    PowerSamplingSearch,
    VerifiedBestOfN,
)
from elicit.steering import FunctionEdit
from elicit.tasks import AskedTask, Task
from elicit.tasks.generated.english import English
from elicit.tasks.sequential import SequentialTask
from elicit.weights import Adapter, FullWeights
from saes.training.matrix import train_on_vectors
from tests.support.bases import Way, base, folder, scratch
from tests.support.letters import Letters

ALL = (*METHODS, *ALIASES)
"""Every method, and the rewards of the others by their older names."""
LENGTH = 7
"""Tokens of the longest answer."""
_TRAINED = {"epochs": 1, "batch_size": 4, "learning_rate": 0.02}
"""Two steps, at a rate that bfloat16 weights can follow."""
_RL = {"steps": 2, "problems": 2, "generations": 4, "pilot_problems": 8, "pilot_samples": 4}
_TUNED = {"layers": (0, 1), "strengths": (1.0, 2.0), "train_problems": 8, "select_problems": 4}

#: method -> options. `saes` and `lora_rank` are filled in by the base at hand.
OPTIONS: dict[str, dict[str, Any]] = {
    "sft": {"demonstrations": 8, **_TRAINED},
    "critique": {"problems": 8, "held_out": 1, **_TRAINED},
    **{name: {**_RL, "learning_rate": 0.02} for name in ALL if name.startswith("grpo")},
    **{name: {**_RL, "train_problems": 8} for name in ("rl_steering", "rl_steering_random_reward")},
    "mean_steering": _TUNED,
    "sae_steering": {**_TUNED, "candidates": 2, "modes": ("add", "clamp")},
    "vector": {"layers": (0, 1), "strengths": (1.0, 2.0), "train_problems": 8, "select_problems": 4},
    "feature": {"features": (0, 1), "strengths": (1.0, 2.0), "train_problems": 8, "select_problems": 4},
    "edit": {"layers": (0, 1), "strengths": (1.0, 2.0), "select_problems": 4},
    "error_vector": {"problems": 8},
    "random_feature": {"problems": 8},
    "searched_random_feature": {"problems": 8},
    "feature_sweep": {"problems": 2, "train_problems": 8},
    "covariance_vector": {"problems": 16},
    "mean_ablation": {"top": 2},
    "self_consistency": {"n": 4},
    "best_of_n": {"n": 4},
    "cot_decoding": {"k": 3},
    "power_sampling": {"alpha": 2.0, "block": 4, "steps": 2},
    "budget_forcing": {"min_tokens": 3, "max_tokens": 5},
    "few_shot": {"demonstrations": 1},
    "named_prompt": {"condition": "cue"},
    "best_prompt": {"demonstrations": (1,), "select_problems": 4},
    "contrastive_decoding": {"amateur_arm": "sft", "alphas": (0.01,), "betas": (1.0,), "select_problems": 4},
    "dola": {"exits": (1,), "select_problems": 4},
    "hybrid_steering": {
        "tuned": "sft", "categories": 2, "active": 1, "layers": (1,), "strengths": (2.0,), "train_problems": 8,
        "select_problems": 2, "least_tokens": 1,
    },
}  # fmt: skip

#: Methods of one family are fitted on the same base, since they need each other.
FAMILIES: tuple[tuple[str, ...], ...] = (
    ("base", "self_consistency", "think_prompt", "named_prompt", "best_of_n"),
    ("sft", "adapter", "hybrid_steering", "hybrid_control", "contrastive_decoding"),
    ("sae_steering", "random_feature", "twin_feature", "ablate_feature", "mean_ablation", "clamp_feature",
     "error_vector", "covariance_vector", "searched_random_feature", "feature_sweep", "feature"),
    ("grpo", "grpo_random_reward", "grpo_format_only", "grpo_wrong_label"),
    ("mean_steering", "random_vector", "same_vector", "searched_random_vector", "vector", "edit"),
    ("rl_steering", "rl_steering_random_reward", "untrained_vector"),
    ("critique", "same_solutions"),
    ("cue_prompt", "best_prompt", "forbid_first", "few_shot", "cot_decoding"),
    ("power_sampling", "budget_forcing", "min_p", "dola", "reference_model"),
)  # fmt: skip

#: Those that a LoRA adapter can be trained for.
ADAPTABLE = ("sft", "critique", *(name for name in ALL if name.startswith("grpo")))


class Arm(NamedTuple):
    """A method on a base."""

    method: str
    way: Way


def way_of(method: str, arch: str) -> Way:
    """The base of this architecture that a method is tried on: its families take turns."""
    from tests.support.tiny import ARCHITECTURES

    (family,) = (i for i, names in enumerate(FAMILIES) if method in names)
    row = ARCHITECTURES.index(arch) % 8
    # Two bits of the row: one or three would always go along with one of the factors.
    return Way(arch, bool(((row >> 1) + (row >> 2) + family) % 2))


@functools.cache
def task_for(way: Way) -> Task:
    """The task as this base is asked it: in the organisms' notation, or in English through its chat template.

    Random models change what they say on few problems: on these three every method changes something.
    """
    family = Letters()
    if way.levels["asked"] == "as it is":
        return SequentialTask(family, max_new_tokens=LENGTH)
    return base(way).bind(AskedTask(SequentialTask(family, English(), max_new_tokens=LENGTH)))


@functools.cache
def dictionary(way: Way, layer: int, seed: int = 0) -> str:
    """Folder of an SAE trained on this base, or on the copy of it that has no spare rows: it belongs to both."""
    if way.spare:
        return dictionary(way._replace(spare=0), layer, seed)
    model, task = base(way), task_for(way)
    texts = [
        text
        for problem in task.problems("train", 48)
        for text in (problem.prompt + task.direct(problem), (problem.cue_prompt or "") + (task.worked(problem) or ""))
    ]
    place = scratch() / f"{way.name}-L{layer}-s{seed}"
    saes.train(
        model.hf, [model.encode(text) for text in texts], layer=layer, width=24, k=4, tokens=1024, batch=128,
        buffer=512, seed=seed, out=place, model_name=model.name, weights_sha256=model.weights_sha256,
    )  # fmt: skip
    return str(place)


@functools.cache
def made_elsewhere(way: Way) -> str:
    """Folder of an adapter that plain peft wrote for this base, as transformers reads it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    place = scratch() / f"{way.name}-adapter"
    options: dict[str, Any] = {"target_modules": "all-linear", "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = AutoModelForCausalLM.from_pretrained(folder(way))
        get_peft_model(plain, LoraConfig(r=2, **options)).save_pretrained(place)
    return str(place)


@functools.cache
def found_elsewhere(way: Way) -> str:
    """File of a vector that torch.save wrote."""
    place = scratch() / f"{way.name}-vector.pt"
    torch.save(torch.randn(base(way).d_model, generator=torch.Generator().manual_seed(5)), place)
    return str(place)


@functools.cache
def written_function() -> str:
    """Reference to a function of the residual."""
    place = scratch() / "rotate.py"
    place.write_text("def rotate(h):\n    return h.roll(1, dims=-1)\n")
    return f"{place}:rotate"


def config(arm: Arm, **changes: Any) -> Method:
    options = {**OPTIONS.get(arm.method, {}), **changes}
    if arm.method == "budget_forcing" and arm.way.levels["asked"] != "as it is":
        options = {"end": "!", "wait": "", **options}
    if arm.method == "reference_model":
        options["model"] = str(folder(arm.way, 1))
    if arm.method in ADAPTABLE and arm.way.levels["training"] == "lora":
        options["lora_rank"] = 2
    if arm.method == "sae_steering":
        options.setdefault("saes", tuple(dictionary(arm.way, layer) for layer in (0, 1)))
    if arm.method == "adapter":
        options.setdefault("path", made_elsewhere(arm.way))
    if arm.method == "edit":
        options.setdefault("function", written_function())
    if arm.method == "vector":
        options.setdefault("path", found_elsewhere(arm.way))
    if arm.method == "feature":
        options.setdefault("sae", dictionary(arm.way, 1))
    if arm.method == "twin_feature":
        (boosted,) = fitted(Arm("sae_steering", arm.way)).record["features"]
        options.setdefault("other", dictionary(arm.way, boosted["layer"], 1))
    return configure_method(arm.method, options)


@contextlib.contextmanager
def few_steps_of_autoencoders() -> Iterator[None]:
    """Forty steps instead of six hundred for the autoencoder of hybrid arms, which has no option for them."""
    defaults: Any = train_on_vectors.__kwdefaults__
    before = defaults["steps"]
    defaults["steps"] = 40
    try:
        yield
    finally:
        defaults["steps"] = before


def fit(arm: Arm, *, seed: int = 0, task: Task | None = None, **changes: Any) -> Policy:
    method = config(arm, **changes)
    needs = {name: fitted(Arm(name, arm.way)) for name in method.needs}
    with few_steps_of_autoencoders():
        return method.fit(base(arm.way), task or task_for(arm.way), seed=seed, needs=needs)


@functools.cache
def fitted(arm: Arm) -> Policy:
    """The arm, fitted once for every test and arm that needs it."""
    return fit(arm)


def off(policy: Policy) -> Policy:
    """The policy with its effect switched off, part by part: nothing is left that could tell it from the base.

    What samples is made certain: at a temperature near 0 all of its samples are the greedy one.
    """
    search = policy.search
    if isinstance(search, CotDecodingSearch):
        search = dataclasses.replace(search, k=1)
    elif isinstance(search, ForbidFirstSearch):
        search = dataclasses.replace(search, forbidden=0)
    elif isinstance(search, BudgetForcingSearch):
        search = dataclasses.replace(search, min_tokens=0, max_tokens=None)
    elif isinstance(search, PowerSamplingSearch):
        search = dataclasses.replace(search, temperature=1e-4)
    elif search is not None:
        assert isinstance(search, MajorityVote | LikeliestBestOfN | VerifiedBestOfN)
    readout = policy.readout
    if isinstance(readout, ContrastReadout):
        readout = dataclasses.replace(readout, beta=0.0)
    elif isinstance(readout, ReplacementModel):
        readout = dataclasses.replace(readout, second=SecondModel())
    elif isinstance(readout, DolaReadout):
        readout = dataclasses.replace(readout, alpha=1.0)
    elif isinstance(readout, HybridReadout):
        readout = dataclasses.replace(readout, strength=0.0)
    return dataclasses.replace(
        policy,
        decoding=policy.decoding if not policy.decoding.temperature else policy.decoding.replace(temperature=1e-4),
        prompting=Prompting(),
        steering=tuple(_harmless(edit) for edit in policy.steering),
        weights=_undone(policy),
        readout=readout,
        search=search,
    )


def _harmless(edit: Any) -> Any:
    """Strength 0; what clamps or takes out is turned into a scaling by 1."""
    if isinstance(edit, FunctionEdit):
        return dataclasses.replace(edit, strength=0.0)
    if getattr(edit, "reads", False):
        return dataclasses.replace(edit, mode="scale", strength=1.0)
    return dataclasses.replace(edit, strength=0.0)


def _undone(policy: Policy) -> Any:
    weights = policy.weights
    if isinstance(weights, FullWeights):
        own = dict(policy.model.hf.named_parameters())
        return FullWeights({name: own[name].detach().clone() for name in weights.tensors})
    if isinstance(weights, Adapter):
        zero = {name: torch.zeros_like(t) if "lora_B" in name else t for name, t in weights.tensors.items()}
        return Adapter(weights.config, zero)
    return None


def changes(policy: Policy) -> Mapping[str, float]:
    """How far each trained tensor is from where it started, at its largest."""
    weights = policy.weights
    if isinstance(weights, FullWeights):
        own = dict(policy.model.hf.named_parameters())
        return {
            name: float((t.float() - own[name].detach().float()).abs().max()) for name, t in weights.tensors.items()
        }
    assert isinstance(weights, Adapter)
    return {name: float(t.float().abs().max()) for name, t in weights.tensors.items() if "lora_B" in name}
