"""Traces cut into steps, and the categories that a small TopK autoencoder finds among them (2510.07364).

1. The tuned model answers train problems in its own way; base and tuned model then both read those texts.
2. A step is the text up to and with a separator. Its state is the mean over its tokens of the tuned model's residuals
   that produced them.
3. A TopK autoencoder with few latents is trained on those states; a step's category is its largest latent. Latents with
   too few steps are dropped, so that their steps fall to the next best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from elicit.errors import ElicitError
from elicit.loading.continuing import token_text

if TYPE_CHECKING:
    import torch

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Decoding, Scored
    from elicit.steering import Gate
    from elicit.tasks import Task


class Tokens(NamedTuple):
    """Every token of every trace, in a row."""

    base: torch.Tensor
    """[layer token d_model]: the base's residuals that produce the tokens."""
    tuned: torch.Tensor
    """[layer token d_model]: the tuned model's."""
    disagree: torch.Tensor
    """[token] bool: whether their most probable next tokens differ there."""
    step: torch.Tensor
    """[token]: number of the step it belongs to, over all traces."""
    trace: torch.Tensor
    """[token]: number of the trace."""
    texts: list[str]
    """Text of every step."""
    layers: tuple[int, ...]
    """Which layers were read."""

    def layer(self, layer: int) -> int:
        """The row of a layer."""
        return self.layers.index(layer)


def traces(tuned: Policy, task: Task, *, problems: int, decoding: Decoding, seed: int) -> list[Scored]:
    """The tuned policy's own answers to train problems."""
    from elicit.sampling import Scored

    drawn = tuned.draw(
        task.problems("train", problems, seed=seed + 1), task=task.name, seed=seed, n=1, decoding=decoding
    )
    return [Scored(tuned.model.encode(prompt), one[0].tokens) for prompt, _, one in drawn]


def read(
    base: BaseModel, tuned: Policy, sequences: Sequence[Scored], layers: Sequence[int], separators: Sequence[str]
) -> Tokens:
    """Both models read the tuned one's traces."""
    import torch

    from elicit.sampling.states import states

    wanted = tuple(sorted(set(layers)))
    own = states(base.engine, base.layers, wanted, sequences)
    with tuned.applied():
        theirs = states(base.engine, base.layers, wanted, sequences)
    step: list[int] = []
    texts: list[str] = []
    trace: list[int] = []
    for number, sequence in enumerate(sequences):
        for count, text in _steps(base, sequence.completion, separators):
            step += [len(texts)] * count
            texts.append(text)
        trace += [number] * len(sequence.completion)
    return Tokens(
        torch.cat([one.residuals for one in own], dim=1),
        torch.cat([one.residuals for one in theirs], dim=1),
        torch.cat([a.top != b.top for a, b in zip(own, theirs, strict=True)]),
        torch.tensor(step),
        torch.tensor(trace),
        texts,
        wanted,
    )


def _steps(base: BaseModel, tokens: Sequence[int], separators: Sequence[str]) -> list[tuple[int, str]]:
    """(number of tokens, text) of every step: each ends with the token that brings a separator."""
    found: list[tuple[int, str]] = []
    count, text = 0, ""
    for token in tokens:
        piece = token_text(base.tokenizer, token)
        count, text = count + 1, text + piece
        if any(separator in piece for separator in separators):
            found.append((count, text))
            count, text = 0, ""
    return [*found, (count, text)] if count else found


def separators(base: BaseModel, given: Sequence[str] | None) -> tuple[str, ...]:
    """What ends a step: as given; else what the organism's dialect has between steps; else lines and sentences."""
    if given:
        return tuple(given)
    between = (base.card.get("dialect") or {}).get("separator")
    return ("\n", between) if between else ("\n", ". ", ".", "!", "?")


class Categories(NamedTuple):
    """What the steps fall into."""

    gate: Gate
    """Class of a residual of the tuned model."""
    token: torch.Tensor
    """[token]: category of every token's own residual, as the oracle reads it."""
    step: torch.Tensor
    """[step]: category of every step's mean residual."""
    explained_variance: float


def categories(tokens: Tokens, layer: int, *, width: int, k: int, least: int, seed: int) -> Categories:
    """Cluster the steps by the tuned model's residuals after `layer`.

    Args:
        width: latents to train; those with fewer than `least` steps are dropped.

    Raises:
        ElicitError: fewer steps than latents.
    """
    import torch

    from elicit.steering import Gate
    from saes.training.matrix import train_on

    h = tokens.tuned[tokens.layer(layer)]
    steps = len(tokens.texts)
    if steps < width:
        raise ElicitError(
            f"hybrid_steering: the tuned arm's traces have {steps} steps, fewer than the {width} categories asked for. "
            "Type a smaller `categories`, or more train_problems."
        )
    sizes = torch.bincount(tokens.step, minlength=steps)
    means = torch.zeros(steps, h.shape[1]).index_add_(0, tokens.step, h) / sizes[:, None]
    latents = train_on(means, width=width, k=min(k, width), seed=seed)
    whole = Gate(latents.weight, latents.bias)
    counts = torch.bincount(whole.decide(means), minlength=width)
    live = (counts >= min(least, int(counts.max()))).nonzero()[:, 0]
    gate = Gate(latents.weight[live], latents.bias[live])
    return Categories(gate, gate.decide(h), gate.decide(means), latents.explained_variance)


def described(tokens: Tokens, found: Categories) -> list[dict[str, Any]]:
    """For the record: how many steps, tokens and disagreements each category has, and what its steps look like."""
    from collections import Counter

    entries = []
    for category in range(found.gate.classes):
        mine = (found.step == category).nonzero()[:, 0].tolist()
        inside = found.token == category
        common = Counter(tokens.texts[i].strip() for i in mine).most_common(3)
        entries.append(
            {
                "steps": len(mine),
                "tokens": int(inside.sum()),
                "disagreements": int((inside & tokens.disagree).sum()),
                "examples": [text[:60] for text, _ in common],
            }
        )
    return entries
