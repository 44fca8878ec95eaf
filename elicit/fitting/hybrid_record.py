"""The record of a hybrid steering fit: its traces and categories, its cost, its choice and how often it steers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elicit.fitting.selection import CandidateResult, Selection
    from elicit.fitting.trace_categories import StepCategories, TraceTokens
    from elicit.model import BaseModel
    from elicit.sampling import Scored


def describe_traces(tokens: TraceTokens, categories: StepCategories) -> dict[str, Any]:
    """Describe the traces' categories and disagreement for the record."""
    import torch

    from elicit.fitting.trace_categories import describe_categories
    from elicit.statistics import estimate_mean

    sizes, disagreements = torch.bincount(tokens.trace), int(tokens.disagree.sum())
    shares = torch.bincount(tokens.trace, weights=tokens.disagree.double()) / sizes

    return {
        "categories": describe_categories(tokens, categories),
        "explained_variance": categories.explained_variance,
        # Share of tokens at which the models disagree along the tuned model's traces: the mean over traces.
        "disagreement": {
            **estimate_mean(shares[sizes > 0].numpy()).to_json(),
            "of_tokens": disagreements / len(tokens.step),
        },
    }


def estimate_fitting_cost(base: BaseModel, traces: Sequence[Scored], trained: int) -> dict[str, Any]:
    """Cost of the tuned arm's traces, of two passes over them, and of `trained` tokens of training the directions.

    The tuned arm's own training is not included: the summary adds the costs of needed arms.
    """
    texts = sum(len(trace.prompt) + len(trace.completion) for trace in traces)
    train = {
        # 2 FLOPs per weight and token forward, for each of the two models; 2 more backward to train directions.
        "flops": sum(p.numel() for p in base.hf.parameters()) * (2 * 2 * texts + 4 * trained),
        "tokens": texts + trained,
        "labels": 0,
        "teacher_tokens": 0,
        "generated_tokens": sum(len(trace.completion) for trace in traces),
    }
    return {"train": train}


def describe_choice(selection: Selection, references: Sequence[CandidateResult], tuned: str) -> dict[str, Any]:
    """Describe the choice, how often it steers, and its share of the tuned arm's gain on the select split.

    That share is biased upward: it is measured on the problems on which layer and strength were chosen.
    """
    import numpy as np

    from elicit.statistics import estimate_mean, gap_recovered

    base, ceiling = references
    arm = selection.results[selection.best]
    m, b, c = (np.array([trial.correct], dtype=float) for trial in (arm, base, ceiling))
    gap = gap_recovered(m, b, c, seed=0, ceiling_name=tuned)
    entries = [
        result.entry | {"fraction_steered": sum(result.firings) / max(1, sum(result.tokens))}
        for result in selection.results
    ]
    shares = [steered / max(1, tokens) for steered, tokens in zip(arm.firings, arm.tokens, strict=True)]
    return {
        **selection.record,
        "dose_response": entries,
        "chosen": entries[selection.best],
        # The mean over problems, with its interval; `of_tokens` is the share of all tokens together.
        "fraction_steered": {
            **estimate_mean(np.array(shares)).to_json(),
            "of_tokens": entries[selection.best]["fraction_steered"],
        },
        "recovered_of_tuned": {
            **gap.to_json(),
            "n": gap.n,
            "reason": gap.reason,
            "base": base.entry["accuracy"],
            "tuned": ceiling.entry["accuracy"],
            "arm": arm.entry["accuracy"],
        },
    }
