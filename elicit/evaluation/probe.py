"""What a policy makes of given solutions, and how sure it is of its own: the usual companions of a training curve.

- loss and token accuracy: teacher-forced on worked solutions, the end token included, as they are trained on. Loss is
  the mean of -log p over all tokens of all solutions, in nats; a token counts as right where it is the most probable.
- entropy: of the next-token distribution, along the policy's own greedy answers to the same problems; the mean over all
  their tokens, in nats.

So defined they are what trainers log (TRL: loss, mean_token_accuracy, entropy), here on problems nobody trained on.
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

#: Logits that are turned into probabilities at a time, in float32.
_PIECE = 1 << 22


class TokenScores(NamedTuple):
    """What a model says at every token of one sequence that it is given."""

    loss: Float[np.ndarray, " tokens"]
    """-log p of the token, in nats."""
    right: Float[np.ndarray, " tokens"]
    """1 where the token is the most probable one."""
    entropy: Float[np.ndarray, " tokens"]
    """Of the distribution that the token was given under, in nats."""


def probe_policy(policy: Policy, problems: Sequence[Problem], solutions: Sequence[Scored] | None) -> dict[str, Any]:
    """`{"loss", "token_accuracy", "entropy", "n"}` of one policy on one task.

    Args:
        problems: whose own answers' entropy is measured.
        solutions: their prompts and worked solutions in tokens; None where there are none: loss and accuracy are null.

    Policies that search, read out elsewhere or are asked in another way have no figures: all null.
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
    """`{"loss", "token_accuracy", "n"}` on given solutions, end tokens included; nulls where there are none."""
    with policy.apply() if solutions else nullcontext():
        token_scores = score_tokens(policy.model.engine, solutions)
    loss, right = (
        _mean_over_tokens([scores.loss for scores in token_scores]),
        _mean_over_tokens([scores.right for scores in token_scores]),
    )
    return {"loss": loss, "token_accuracy": right, "n": len(token_scores)}


def score_tokens(engine: Engine, sequences: Sequence[Scored]) -> list[TokenScores]:
    """Every completion token of every sequence, in the order of `sequences`, under whatever is applied to the model."""
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
