"""Split traces into steps, and cluster these into categories with a small TopK autoencoder (2510.07364).

1. The tuned model answers train problems in its own way; base and tuned model then both read those texts.
2. A step is the text up to and including a separator. Its state is the mean over its tokens of the tuned model's
   residuals that produced them.
3. A TopK autoencoder with few latents is trained on those states; a step's category is its largest latent. Latents with
   too few steps are dropped, so that their steps fall to the next best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from elicit.errors import ElicitError
from elicit.loading.continuing import decode_token

if TYPE_CHECKING:
    import torch

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Decoding, Scored
    from elicit.steering import Gate
    from elicit.tasks import Task


class TraceTokens(NamedTuple):
    """All tokens of all traces, concatenated."""

    base: torch.Tensor
    """[layer token d_model]: the base's residuals that produce the tokens."""
    tuned: torch.Tensor
    """[layer token d_model]: the tuned model's."""
    disagree: torch.Tensor
    """[token] bool: the models' most probable next tokens differ there."""
    step: torch.Tensor
    """[token]: index of its step, counted over all traces."""
    trace: torch.Tensor
    """[token]: index of its trace."""
    texts: list[str]
    """Text of every step."""
    layers: tuple[int, ...]
    """The layers that were read."""

    def find_layer_row(self, layer: int) -> int:
        """Index of a layer in the tensors above."""
        return self.layers.index(layer)


def generate_traces(tuned: Policy, task: Task, *, problems: int, decoding: Decoding, seed: int) -> list[Scored]:
    """Generate the tuned policy's answers to train problems."""
    from elicit.sampling import Scored

    draws = tuned.draw(
        task.problems("train", problems, seed=seed + 1), task=task.name, seed=seed, n=1, decoding=decoding
    )
    return [Scored(tuned.model.encode(prompt), completions[0].tokens) for prompt, _, completions in draws]


def read_traces(
    base: BaseModel, tuned: Policy, sequences: Sequence[Scored], layers: Sequence[int], separators: Sequence[str]
) -> TraceTokens:
    """Read the tuned model's traces with both models."""
    import torch

    from elicit.sampling.states import read_token_states

    layer_numbers = tuple(sorted(set(layers)))
    base_states = read_token_states(base.engine, base.layers, layer_numbers, sequences)
    with tuned.apply():
        tuned_states = read_token_states(base.engine, base.layers, layer_numbers, sequences)
    step: list[int] = []
    texts: list[str] = []
    trace: list[int] = []
    for number, sequence in enumerate(sequences):
        for count, text in _split_steps(base, sequence.completion, separators):
            step += [len(texts)] * count
            texts.append(text)
        trace += [number] * len(sequence.completion)
    return TraceTokens(
        torch.cat([sequence_states.residuals for sequence_states in base_states], dim=1),
        torch.cat([sequence_states.residuals for sequence_states in tuned_states], dim=1),
        torch.cat([a.top != b.top for a, b in zip(base_states, tuned_states, strict=True)]),
        torch.tensor(step),
        torch.tensor(trace),
        texts,
        layer_numbers,
    )


def _split_steps(base: BaseModel, tokens: Sequence[int], separators: Sequence[str]) -> list[tuple[int, str]]:
    """(number of tokens, text) of every step: each ends with the token that completes a separator."""
    steps: list[tuple[int, str]] = []
    count, text = 0, ""
    for token in tokens:
        piece = decode_token(base.tokenizer, token)
        count, text = count + 1, text + piece
        if any(separator in piece for separator in separators):
            steps.append((count, text))
            count, text = 0, ""
    return [*steps, (count, text)] if count else steps


def choose_separators(base: BaseModel, requested: Sequence[str] | None) -> tuple[str, ...]:
    """Choose the step separators: as given, or those of the organism's prompt format, or lines and sentences."""
    if requested:
        return tuple(requested)
    between = (base.card.get("dialect") or {}).get("separator")
    return ("\n", between) if between else ("\n", ". ", ".", "!", "?")


class StepCategories(NamedTuple):
    """Categories of steps."""

    gate: Gate
    """Classifies a residual of the tuned model."""
    token: torch.Tensor
    """[token]: category of every token's residual, as the oracle reads it."""
    step: torch.Tensor
    """[step]: category of every step's mean residual."""
    explained_variance: float


def cluster_steps(tokens: TraceTokens, layer: int, *, width: int, k: int, least: int, seed: int) -> StepCategories:
    """Cluster the steps by the tuned model's residuals after `layer`.

    Args:
        width: number of latents to train; those with fewer than `least` steps are dropped.

    Raises:
        ElicitError: there are fewer steps than latents.
    """
    import torch

    from elicit.steering import Gate
    from saes.training.matrix import train_on_vectors

    h = tokens.tuned[tokens.find_layer_row(layer)]
    steps = len(tokens.texts)
    if steps < width:
        raise ElicitError(
            f"hybrid_steering: the tuned arm's traces have {steps} steps, fewer than the {width} categories asked for. "
            "Type a smaller `categories`, or more train_problems."
        )
    sizes = torch.bincount(tokens.step, minlength=steps)
    means = torch.zeros(steps, h.shape[1]).index_add_(0, tokens.step, h) / sizes[:, None]
    latents = train_on_vectors(means, width=width, k=min(k, width), seed=seed)
    whole = Gate(latents.weight, latents.bias)
    counts = torch.bincount(whole.decide_class(means), minlength=width)
    live = (counts >= min(least, int(counts.max()))).nonzero()[:, 0]
    gate = Gate(latents.weight[live], latents.bias[live])
    return StepCategories(gate, gate.decide_class(h), gate.decide_class(means), latents.explained_variance)


def describe_categories(tokens: TraceTokens, step_categories: StepCategories) -> list[dict[str, Any]]:
    """Describe the categories for the record: numbers of steps, tokens and disagreements, and sample steps."""
    from collections import Counter

    entries = []
    for category in range(step_categories.gate.classes):
        step_indices = (step_categories.step == category).nonzero()[:, 0].tolist()
        in_category = step_categories.token == category
        common = Counter(tokens.texts[i].strip() for i in step_indices).most_common(3)
        entries.append(
            {
                "steps": len(step_indices),
                "tokens": int(in_category.sum()),
                "disagreements": int((in_category & tokens.disagree).sum()),
                "examples": [text[:60] for text, _ in common],
            }
        )
    return entries
