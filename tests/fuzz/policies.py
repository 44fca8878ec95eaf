"""Policies of every kind around one tiny model, saved once, and what is done with a damaged copy."""

from __future__ import annotations

import copy
import functools
import shutil
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from elicit.checkpoints import CheckpointHistory, LazyCheckpoints, PolicyDelta
from elicit.methods.decoding.contrastive_decoding import ContrastReadout
from elicit.methods.decoding.dola import DolaReadout
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.prompting import Prompting
from elicit.readouts.hybrid import HybridReadout
from elicit.readouts.instead import ReplacementModel
from elicit.readouts.second import SecondModel
from elicit.sampling import Decoding
from elicit.search import (
    BudgetForcingSearch,
    CotDecodingSearch,
    LikeliestBestOfN,
    MajorityVote,
    PowerSamplingSearch,
    VerifiedBestOfN,
)
from elicit.steering import Gate, GatedEdit, Steering
from elicit.weights import FullWeights
from tests.fuzz.damage import damage_file
from tests.fuzz.limited import Outcome, run_limited
from tests.support.models import tiny_model


@functools.cache
def base() -> BaseModel:
    return tiny_model("qwen2")


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@functools.cache
def saved_policies() -> dict[str, Path]:
    """Kind -> folder."""
    from peft import LoraConfig, get_peft_model

    model, root = base(), Path(tempfile.mkdtemp(prefix="policies-"))
    d = model.d_model
    edit = Steering(_random(d), 1, 0.7, "add", "first", 3.0, "one")
    gate = Gate(_random(3, d, seed=1), _random(3, seed=2))
    gated = GatedEdit(gate, _random(2, d, seed=3), 1, 0.5)
    name, weight = next((n, p) for n, p in model.hf.named_parameters() if "q_proj.weight" in n)
    full = FullWeights({name: weight + 0.1})
    with warnings.catch_warnings(action="ignore"):
        options = {"target_modules": ["q_proj", "up_proj"], "rank_pattern": {"up_proj": 3}, "task_type": "CAUSAL_LM"}
        wrapped = get_peft_model(copy.deepcopy(model.hf), LoraConfig(r=2, **options))
        wrapped.save_pretrained(root / "peft")
    lora = Policy.from_peft(model, root / "peft").weights
    second = SecondModel(weights=full, steering=(edit,))
    hybrid = HybridReadout(second, gate, 1, _random(3, d, seed=4), 0)
    warm = Decoding(1.0, top_k=5, top_p=0.9, max_new_tokens=4, stop=("\n", "Q:"))
    trail = CheckpointHistory(PolicyDelta(full, ()), LazyCheckpoints((1, 2), lambda step: PolicyDelta(full, ())))
    policies = {
        "base": Policy(model),
        "steering": Policy(model, warm, Prompting("cue", "{prompt}!"), (edit, gated), record={"train": {"steps": 4}}),
        "full": Policy(model, weights=full, record={"train": {"steps": 3}}, trail=trail),
        "lora": Policy(model, steering=(edit,), weights=lora),
        "contrast": Policy(model, readout=ContrastReadout(second)),
        "dola": Policy(model, readout=DolaReadout((0, 1))),
        "hybrid": Policy(model, readout=hybrid),
        "instead": Policy(model, readout=ReplacementModel(second)),
        "budget": Policy(model, search=BudgetForcingSearch("#", "wait", "=", 1, 4)),
        "cot": Policy(model, search=CotDecodingSearch(2)),
        "likeliest": Policy(model, warm, search=LikeliestBestOfN(2)),
        "majority": Policy(model, warm, search=MajorityVote(3)),
        "power": Policy(model, search=PowerSamplingSearch(2.0)),
        "verified": Policy(model, warm, search=VerifiedBestOfN(2)),
    }
    for kind, policy in policies.items():
        (root / kind).mkdir()
        policy.save(root / kind)
    return {**{kind: root / kind for kind in policies}, "peft": root / "peft"}


def damaged_policy(seed: int) -> tuple[str, Outcome]:
    """(what was damaged, what became of reading it)."""
    rng = np.random.default_rng(seed)
    folders = saved_policies()
    kind = str(rng.choice(sorted(folders)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(folders[kind], Path(scratch) / kind))
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
        # A damaged file is reached through the others: policy.json is first and would hide them, were it drawn often.
        path = files[int(rng.integers(len(files)))]
        what = f"seed {seed}, {kind}, {path.relative_to(folder).parent}/{damage_file(path, rng)}"
        return what, run_limited(lambda: _read(kind, folder))


def _read(kind: str, folder: Path) -> None:
    warnings.simplefilter("ignore")
    if kind == "peft":
        policy = Policy.from_peft(base(), folder)
    else:
        policy = Policy.load(folder, base())
        for step in policy.checkpoints:
            policy.checkpoints[step]
        policy.at(0)
    assert repr(policy)
    assert policy.sha256
    if policy.weights is not None:
        with policy.weights.apply(base().hf):
            pass


def tally(outcomes: list[tuple[str, Outcome]]) -> tuple[Counter[str], list[str]]:
    """How many ended how, and what was not as it should be: no traceback, one short line, within the limits."""
    wrong = [
        f"{what}: {outcome.kind}: {outcome.text[-1500:]}"
        for what, outcome in outcomes
        if outcome.kind not in ("fine", "refused")
        or (outcome.kind == "refused" and ("\n" in outcome.text or len(outcome.text) > 900))
    ]
    return Counter(outcome.kind for _, outcome in outcomes), wrong
