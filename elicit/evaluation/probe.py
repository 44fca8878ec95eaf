"""Loss on given solutions and entropy of a policy's own answers: the usual companions of a training curve.

- loss and token accuracy: teacher-forced on worked solutions including the end token, as in training. Loss is the mean
  of -log p(x_t | x_<t) over all tokens of all solutions, in nats; a token is right if it is the most probable one.
- entropy: H = -sum_x p(x) log p(x) of the next-token distribution along the policy's own greedy answers to the same
  problems; the mean over all their tokens, in nats.

These are the quantities that trainers log (TRL: loss, mean_token_accuracy, entropy), here on held-out problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from elicit.evaluation.side_effects import generate_greedy_answers
from elicit.policy import Policy, Prompting
from elicit.sampling import Engine, Scored
from elicit.sampling.score import hidden_states, pack_batches, project_to_logits
from elicit.schema import finite_or_none
from elicit.tasks import Problem

#: Logits that are converted to probabilities at a time, in float32.
_PIECE = 1 << 22


class TokenScores(NamedTuple):
    """A model's scores at every token of a given sequence."""

    loss: Float[np.ndarray, " tokens"]
    """-log p of the token, in nats."""
    right: Float[np.ndarray, " tokens"]
    """1 if the token is the most probable one, else 0."""
    entropy: Float[np.ndarray, " tokens"]
    """Entropy of the distribution at the token, in nats."""


def probe_policy(policy: Policy, problems: Sequence[Problem], solutions: Sequence[Scored] | None) -> dict[str, Any]:
    """Probe a policy on a task: `{"loss", "token_accuracy", "entropy", "n"}`.

    Args:
        problems: problems on whose answers entropy is measured.
        solutions: their prompts and worked solutions in tokens; None: loss and accuracy are null.

    All figures are null for policies with a search, a readout or a prompt of their own.
    """
    if not policy.has_distribution or policy.prompting != Prompting() or not problems:
        return {"loss": None, "token_accuracy": None, "entropy": None, "n": 0}
    answers = generate_greedy_answers(policy, problems)
    with policy.apply():
        answer_scores = score_tokens(policy.model.engine, answers)
    solution_metrics = measure_solutions(policy, solutions or ())
    return {
        **solution_metrics,
        "entropy": _mean_over_tokens([scores.entropy for scores in answer_scores]),
        "n": len(problems),
    }


def measure_solutions(policy: Policy, solutions: Sequence[Scored]) -> dict[str, Any]:
    """Measure `{"loss", "token_accuracy", "n"}` on given solutions, including end tokens; nulls without any."""
    with policy.apply() if solutions else nullcontext():
        token_scores = score_tokens(policy.model.engine, solutions)
    loss, right = (
        _mean_over_tokens([scores.loss for scores in token_scores]),
        _mean_over_tokens([scores.right for scores in token_scores]),
    )
    return {"loss": loss, "token_accuracy": right, "n": len(token_scores)}


def score_tokens(engine: Engine, sequences: Sequence[Scored]) -> list[TokenScores]:
    """Score every completion token, in the order of `sequences`. Active weights, adapters and steering apply."""
    scores_by_index: dict[int, TokenScores] = {}
    with torch.inference_mode():
        for packed in pack_batches(engine, sequences):
            hidden = hidden_states(engine, packed)
            for row, index in enumerate(packed.indices):
                scores_by_index[index] = _score_sequence(engine, hidden[row], sequences[index])
    return [scores_by_index[index] for index in range(len(sequences))]


def _score_sequence(engine: Engine, hidden: Float[torch.Tensor, "pos d_model"], sequence: Scored) -> TokenScores:
    first, targets = len(sequence.prompt) - 1, torch.tensor(sequence.completion)
    states = hidden[first : first + len(targets)]
    size = max(1, _PIECE // engine.hf.config.get_text_config(decoder=True).vocab_size)
    parts = (slice(start, start + size) for start in range(0, len(targets), size))
    pieces = [_score_piece(project_to_logits(engine, states[part]), targets[part]) for part in parts]
    return TokenScores(*map(np.concatenate, zip(*pieces, strict=True)))


def _score_piece(logits: Float[torch.Tensor, "pos vocab"], targets: torch.Tensor) -> TokenScores:
    targets = targets.to(logits.device)
    logs = logits.log_softmax(-1)
    loss = -logs.gather(1, targets[:, None])[:, 0]
    entropy = -(logs.exp() * logs).sum(-1)  # banned tokens: p is exactly 0, their log finite
    right = (logits.argmax(-1) == targets).double()
    return TokenScores(*(part.double().cpu().numpy() for part in (loss, right, entropy)))


def _mean_over_tokens(parts: Sequence[np.ndarray]) -> float | None:
    return finite_or_none(float(np.concatenate(parts).mean())) if parts else None
