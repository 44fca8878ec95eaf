"""A hybrid arm on the built-in organism, fitted once for the tests of its parts and of its controls."""

from __future__ import annotations

import functools
from typing import Any

import torch

from elicit.fitting import trace_categories
from elicit.method import task_decoding
from elicit.methods.catalog import configure_method
from elicit.model import BaseModel, load
from elicit.policy import Policy
from elicit.tasks import get

TASK = get("addition", max_new_tokens=40)
SMALL = {"tuned": "sft", "train_problems": 32, "select_problems": 16, "strengths": (1.5,), "layers": (1,)}


@functools.cache
def cued() -> BaseModel:
    model = load("cued")
    torch.set_num_threads(1)
    return model


@functools.cache
def sft() -> Policy:
    return configure_method("sft", {"demonstrations": 16}).fit(cued(), TASK, seed=0, needs={})


@functools.cache
def hybrid(gate: str, vectors: str = "disagreements") -> Policy:
    config = configure_method("hybrid_steering", {**SMALL, "gate": gate, "vectors": vectors})
    return config.fit(cued(), TASK, seed=0, needs={"sft": sft()})


@functools.cache
def read() -> trace_categories.TraceTokens:
    found = trace_categories.generate_traces(sft(), TASK, problems=24, decoding=task_decoding(TASK), seed=0)
    return trace_categories.read_traces(cued(), sft(), found, [0, 1], ("\n", ","))


@functools.cache
def clustered() -> trace_categories.StepCategories:
    return trace_categories.cluster_steps(read(), 1, width=4, k=1, least=3, seed=0)


_train_categories = trace_categories.cluster_steps
_CATEGORIES: dict[tuple[Any, ...], trace_categories.StepCategories] = {}


def cluster_once(tokens: trace_categories.TraceTokens, layer: int, **options: Any) -> trace_categories.StepCategories:
    """`cluster_steps`, whose autoencoder is trained once for equal traces: arms differ in what comes after it."""
    rows = tokens.tuned[tokens.find_layer_row(layer)]
    key = (rows.numpy().tobytes(), tokens.step.numpy().tobytes(), *sorted(options.items()))
    if key not in _CATEGORIES:
        _CATEGORIES[key] = _train_categories(tokens, layer, **options)
    return _CATEGORIES[key]


def accuracy(policy: Policy, n: int = 32) -> float:
    problems = TASK.problems("test", n)
    answers = policy.answer(problems, TASK, label="x", seed=0)
    return sum(TASK.verify(p, a.text).correct for p, a in zip(problems, answers, strict=True)) / n
