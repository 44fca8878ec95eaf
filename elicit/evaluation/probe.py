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

from elicit.evaluation.side_effects import greedy_answers
from elicit.policy import Policy, Prompting
from elicit.sampling import Engine, Scored
from elicit.sampling.score import batches, head, hidden_states
from elicit.schema import number
from elicit.tasks import Problem

#: Logits that are turned into probabilities at a time, in float32.
_PIECE = 1 << 22


class Forced(NamedTuple):
    """What a model says at every token of one sequence that it is given."""

    loss: Float[np.ndarray, " tokens"]
    """-log p of the token, in nats."""
    right: Float[np.ndarray, " tokens"]
    """1 where the token is the most probable one."""
    entropy: Float[np.ndarray, " tokens"]
    """Of the distribution that the token was given under, in nats."""


def probe(policy: Policy, problems: Sequence[Problem], solutions: Sequence[Scored] | None) -> dict[str, Any]:
    """`{"loss", "token_accuracy", "entropy", "n"}` of one policy on one task.

    Args:
        problems: whose own answers' entropy is measured.
        solutions: their prompts and worked solutions in tokens; None where there are none: loss and accuracy are null.

    Policies that search, read out elsewhere or are asked in another way have no figures: all null.
    """
    if not policy.has_distribution or policy.prompting != Prompting() or not problems:
        return {"loss": None, "token_accuracy": None, "entropy": None, "n": 0}
    own = greedy_answers(policy, problems)
    with policy.applied():
        answered = forced(policy.model.engine, own)
    taught = forced_on(policy, solutions or ())
    return {**taught, "entropy": _mean([one.entropy for one in answered]), "n": len(problems)}


def forced_on(policy: Policy, solutions: Sequence[Scored]) -> dict[str, Any]:
    """`{"loss", "token_accuracy", "n"}` on given solutions, end tokens included; nulls where there are none."""
    with policy.applied() if solutions else nullcontext():
        found = forced(policy.model.engine, solutions)
    loss, right = _mean([one.loss for one in found]), _mean([one.right for one in found])
    return {"loss": loss, "token_accuracy": right, "n": len(found)}


def forced(engine: Engine, sequences: Sequence[Scored]) -> list[Forced]:
    """Every completion token of every sequence, in the order of `sequences`, under whatever is applied to the model."""
    found: dict[int, Forced] = {}
    with torch.inference_mode():
        for packed in batches(engine, sequences):
            hidden = hidden_states(engine, packed)
            for row, index in enumerate(packed.indices):
                found[index] = _row(engine, hidden[row], sequences[index])
    return [found[index] for index in range(len(sequences))]


def _row(engine: Engine, hidden: Float[torch.Tensor, "pos d_model"], sequence: Scored) -> Forced:
    first, targets = len(sequence.prompt) - 1, torch.tensor(sequence.completion)
    states = hidden[first : first + len(targets)]
    size = max(1, _PIECE // engine.hf.config.get_text_config(decoder=True).vocab_size)
    parts = (slice(start, start + size) for start in range(0, len(targets), size))
    pieces = [_piece(head(engine, states[part]), targets[part]) for part in parts]
    return Forced(*map(np.concatenate, zip(*pieces, strict=True)))


def _piece(logits: Float[torch.Tensor, "pos vocab"], targets: torch.Tensor) -> Forced:
    targets = targets.to(logits.device)
    logs = logits.log_softmax(-1)
    loss = -logs.gather(1, targets[:, None])[:, 0]
    entropy = -(logs.exp() * logs).sum(-1)  # banned tokens: p is exactly 0, their log finite
    right = (logits.argmax(-1) == targets).double()
    return Forced(*(part.double().cpu().numpy() for part in (loss, right, entropy)))


def _mean(parts: Sequence[np.ndarray]) -> float | None:
    return number(float(np.concatenate(parts).mean())) if parts else None
