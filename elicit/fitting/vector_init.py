"""Initial values of trained steering vectors, and the edits they make during and after training.

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

    from elicit.fitting.vector_config import VectorTrainingConfig
    from elicit.model import BaseModel
    from elicit.steering import Edit, Steering
    from elicit.tasks import Problem, Task

#: Length of a starting vector, in residual norms, by kind of start.
STRENGTHS = {"noise": 0.05, "mean": 0.25, "feature": 0.25}


class StartingVectors(NamedTuple):
    """Initial values of the vectors."""

    layers: tuple[int, ...]
    vectors: Float[torch.Tensor, "vector d_model"]
    """In residual norms of their layers."""
    units: tuple[float, ...]
    """Median residual norm of each layer."""
    labels: tuple[str, ...]


def initialise_vectors(config: VectorTrainingConfig, base: BaseModel, task: Task, seed: int) -> StartingVectors:
    """Compute the starting vectors of a training; they depend only on the config and the seed.

    Raises:
        ElicitError: the model lacks a layer, the task lacks one of the conditions, or the SAE feature does not exist.
    """
    import torch

    from elicit.fitting.contrast_pairs import encode_conditions
    from elicit.loading import architectures

    train = task.problems("train", config.train_problems)
    texts = [problem.prompt + (task.worked(problem) or "") for problem in train]
    layers = config.layers if config.layers is not None else tuple(range(max(1, base.n_layers - 1)))
    if config.start == "feature":
        layers, raw, labels = _choose_starting_feature(config, base, task, train)
    else:
        for layer in layers:
            architectures.check_layer(base.hf, layer)
        if config.start == "mean":  # refuse a task without both conditions before running anything
            encode_conditions(config.contrast, base, task, train, config.positive, config.negative)
        if config.start == "mean":
            raw = _compute_mean_difference(config, base, task, train)[list(layers)]
            labels = [f"mean({config.contrast})"] * len(layers)
        else:
            noise = [
                seeds.make_generator("steering noise", seed, layer).standard_normal(base.d_model) for layer in layers
            ]
            raw = torch.stack([torch.from_numpy(vector) for vector in noise]).float()
            labels = [f"noise#{seed}"] * len(layers)
    norms = base.residual_norms_of(texts).medians
    strength = config.strength if config.strength is not None else STRENGTHS[config.start]
    vectors = strength * raw / raw.norm(dim=1, keepdim=True)
    return StartingVectors(layers, vectors, tuple(norms[layer] for layer in layers), tuple(labels))


def _compute_mean_difference(
    config: VectorTrainingConfig, base: BaseModel, task: Task, train: Sequence[Problem]
) -> torch.Tensor:
    """Mean residual of one condition minus the other's after every layer, at the last token: [layer, d_model]."""
    from elicit.fitting.contrast_pairs import encode_conditions
    from elicit.steering.residuals import residuals_at

    pair = encode_conditions(config.contrast, base, task, train, config.positive, config.negative)
    positive, negative = (
        residuals_at(base.hf, base.layers, ids, [len(row) - 1 for row in ids]).mean(dim=1) for ids in pair
    )
    return positive - negative


def _choose_starting_feature(
    config: VectorTrainingConfig, base: BaseModel, task: Task, train: Sequence[Problem]
) -> tuple[tuple[int, ...], torch.Tensor, list[str]]:
    """Choose the starting feature: (its SAE's layer, its direction [1, d_model], its name)."""
    import saes
    from elicit.fitting.contrast_pairs import encode_conditions
    from elicit.fitting.sae_lookup import check_sae_match, check_saes, load_saes, select_saes_at_layers

    texts = [problem.prompt + (task.worked(problem) or "") for problem in train]
    if config.feature is None:
        layers = config.layers if config.layers is not None else (max(0, base.n_layers - 2),)
        sae = select_saes_at_layers(base, check_saes(base, load_saes(base, ()), texts, transfer=False)[0], layers)[0]
        pair = encode_conditions(config.contrast, base, task, train, config.positive, config.negative)
        spans = ([saes.Span.last(ids) for ids in side] for side in pair)
        table = saes.discover(base.hf, sae, *spans, scorers=("contrast",))
        feature = sae.feature(int(table.index[int(table["contrast"].to_numpy().argmax())]))
    else:
        name, _, index = config.feature.rpartition("/")
        if not name or not index.isdigit():
            raise ElicitError(
                f"{config.name}: feature is {config.feature!r}; expected SAE/NUMBER, such as cued/L1/379."
            )
        sae = saes.load(name, device=str(base.device))
        check_sae_match(base, sae, texts)
        feature = sae.feature(int(index))
    if config.layers not in (None, (sae.layer,)):
        raise ElicitError(f"{config.name}: a feature of {sae.name} is at layer {sae.layer}; leave `layers` out.")
    return (sae.layer,), feature.direction[None].cpu().float(), [f"feature {feature.label}"]


def build_steering_edits(start: StartingVectors, vectors: torch.Tensor, positions: str) -> tuple[Steering, ...]:
    """Build ordinary steering edits from vectors [vector d_model] in residual norms."""
    from elicit.steering import Steering

    parts = zip(start.layers, vectors, start.units, start.labels, strict=True)
    return tuple(
        Steering(vector.detach().cpu(), layer, float(vector.detach().norm()), "add", positions, unit, label)
        for layer, vector, unit, label in parts
    )


def build_trainable_edits(start: StartingVectors, vectors: torch.nn.Parameter, positions: str) -> list[Edit]:
    """Build the same edits for training: gradients flow into `vectors`."""
    from elicit.steering import Edit, parse

    def build_edit(i: int, layer: int, unit: float) -> Edit:
        return Edit(layer, parse(positions), lambda h: (unit * vectors[i]).to(h.dtype), f"vector {i} at layer {layer}")

    return [build_edit(i, layer, unit) for i, (layer, unit) in enumerate(zip(start.layers, start.units, strict=True))]
