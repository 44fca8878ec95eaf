"""Steering vectors that are to be trained: where they start, and what they are while they are trained and after.

Vectors are measured in median residual norms of their layer, so that a learning rate means the same at every layer and
in every model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from elicit import seeds
from elicit.errors import ElicitError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

    from elicit.fitting.vector_training import Recipe
    from elicit.model import BaseModel
    from elicit.steering import Edit, Steering
    from elicit.tasks import Problem, Task

#: Length of a starting vector, in residual norms, by kind of start.
STRENGTHS = {"noise": 0.05, "mean": 0.25, "feature": 0.25}


class Start(NamedTuple):
    """Where training begins."""

    layers: tuple[int, ...]
    vectors: Float[torch.Tensor, "vector d_model"]
    """In residual norms of their layers."""
    units: tuple[float, ...]
    """Median residual norm of each layer."""
    labels: tuple[str, ...]


def starting(recipe: Recipe, base: BaseModel, task: Task, seed: int) -> Start:
    """The starting vectors of a training, the same for the same recipe and seed.

    Raises:
        ElicitError: a layer the model does not have, a task without the two conditions, or no such SAE feature.
    """
    import torch

    from elicit.fitting.contrast_pairs import sides
    from elicit.loading import architectures

    train = task.problems("train", recipe.train_problems)
    texts = [problem.prompt + (task.worked(problem) or "") for problem in train]
    layers = recipe.layers if recipe.layers is not None else tuple(range(max(1, base.n_layers - 1)))
    if recipe.start == "feature":
        layers, raw, labels = _feature(recipe, base, task, train)
    else:
        for layer in layers:
            architectures.check_layer(base.hf, layer)
        if recipe.start == "mean":  # a task without both conditions is refused before anything is run
            sides(recipe.contrast, base, task, train, recipe.positive, recipe.negative)
        if recipe.start == "mean":
            raw = _difference(recipe, base, task, train)[list(layers)]
            labels = [f"mean({recipe.contrast})"] * len(layers)
        else:
            drawn = [seeds.generator("steering noise", seed, layer).standard_normal(base.d_model) for layer in layers]
            raw = torch.stack([torch.from_numpy(one) for one in drawn]).float()
            labels = [f"noise#{seed}"] * len(layers)
    norms = base.residual_norms_of(texts).medians
    strength = recipe.strength if recipe.strength is not None else STRENGTHS[recipe.start]
    vectors = strength * raw / raw.norm(dim=1, keepdim=True)
    return Start(layers, vectors, tuple(norms[layer] for layer in layers), tuple(labels))


def _difference(recipe: Recipe, base: BaseModel, task: Task, train: Sequence[Problem]) -> torch.Tensor:
    """Mean residual of one condition less the other's after every layer, at the last token: [layer, d_model]."""
    from elicit.fitting.contrast_pairs import sides
    from elicit.steering.residuals import residuals_at

    pair = sides(recipe.contrast, base, task, train, recipe.positive, recipe.negative)
    one, other = (residuals_at(base.hf, base.layers, ids, [len(row) - 1 for row in ids]).mean(dim=1) for ids in pair)
    return one - other


def _feature(
    recipe: Recipe, base: BaseModel, task: Task, train: Sequence[Problem]
) -> tuple[tuple[int, ...], torch.Tensor, list[str]]:
    """(its SAE's layer, its direction [1, d_model], its name)."""
    import saes
    from elicit.fitting.contrast_pairs import sides
    from elicit.fitting.sae_lookup import at_layers, check, dictionaries, opened

    texts = [problem.prompt + (task.worked(problem) or "") for problem in train]
    if recipe.feature is None:
        wanted = recipe.layers if recipe.layers is not None else (max(0, base.n_layers - 2),)
        sae = at_layers(base, dictionaries(base, opened(base, ()), texts, transfer=False)[0], wanted)[0]
        pair = sides(recipe.contrast, base, task, train, recipe.positive, recipe.negative)
        spans = ([saes.Span.last(ids) for ids in side] for side in pair)
        table = saes.discover(base.hf, sae, *spans, scorers=("contrast",))
        feature = sae.feature(int(table.index[int(table["contrast"].to_numpy().argmax())]))
    else:
        name, _, index = recipe.feature.rpartition("/")
        if not name or not index.isdigit():
            raise ElicitError(
                f"{recipe.name}: feature is {recipe.feature!r}; expected SAE/NUMBER, such as cued/L1/379."
            )
        sae = saes.load(name, device=str(base.device))
        check(base, sae, texts)
        feature = sae.feature(int(index))
    if recipe.layers not in (None, (sae.layer,)):
        raise ElicitError(f"{recipe.name}: a feature of {sae.name} is at layer {sae.layer}; leave `layers` out.")
    return (sae.layer,), feature.direction[None].cpu().float(), [f"feature {feature.label}"]


def edits(start: Start, vectors: torch.Tensor, positions: str) -> tuple[Steering, ...]:
    """Vectors [vector d_model] in residual norms, as plain steering."""
    from elicit.steering import Steering

    parts = zip(start.layers, vectors, start.units, start.labels, strict=True)
    return tuple(
        Steering(vector.detach().cpu(), layer, float(vector.detach().norm()), "add", positions, unit, label)
        for layer, vector, unit, label in parts
    )


def trained_edits(start: Start, vectors: torch.nn.Parameter, positions: str) -> list[Edit]:
    """The same edits while they are trained: gradients flow into `vectors`."""
    from elicit.steering import Edit, parse

    def one(i: int, layer: int, unit: float) -> Edit:
        return Edit(layer, parse(positions), lambda h: (unit * vectors[i]).to(h.dtype), f"vector {i} at layer {layer}")

    return [one(i, layer, unit) for i, (layer, unit) in enumerate(zip(start.layers, start.units, strict=True))]
