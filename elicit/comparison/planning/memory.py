"""Estimate a worker's memory from a model's config and its files' headers."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from elicit.comparison.spec import Spec, assumed_size
from elicit.loading import size
from elicit.loading.catalog import ModelSource
from elicit.loading.threads import choose_threads
from elicit.method import CostEstimate, TokenLengths

#: Bytes of Python, torch, transformers and a tokenizer; bytes that trl and its trainer add.
_LIBRARIES, _TRAINER = 0.55 * 2**30, 0.45 * 2**30
#: The sampler's default budget for keys and values (`elicit.sampling.cache`), and its tokens times width in one pass.
_CACHE, _PASS = 1 << 30, 1 << 21
#: Most rows in a batch of answers, and most rows times vocabulary.
_ROWS, _LOGITS = 256, 1 << 26
#: Activations kept for a backward pass (`elicit.training.passes`): most bytes, and values per token and layer.
_KEPT, _WIDTHS, _INNER = 2 << 30, 32, 10


#: Bytes per trained value: itself, its gradient, and Adam's two averages, all float32 (`elicit.training.parameters`).
_TRAINED = 16
#: Bytes of an adapter with its gradients and averages, per byte of the weights that it stands beside: rank 16 to 64.
_ADAPTER = 0.15

Basis = Literal["files", "config", "assumed"]
"""Source of a model's size."""


class ModelProfile(NamedTuple):
    """Sizes of a model on which its memory and time depend."""

    basis: Basis
    values: int
    embedding: int
    vocabulary: int
    layers: int
    width: int
    attention: int
    """Width of all query heads of a layer together."""
    kv: int
    """Bytes per token in the key-value cache."""
    itemsize: int
    dtype: str
    device: str
    threads: int
    cache: float
    """Most bytes of keys and values in a batch."""
    tied: bool = False
    """Whether the head is the embedding."""
    experts: int = 0
    """Values of experts, of which a token visits only some."""
    visited: tuple[float, float] = (1.0, 1.0)
    """Experts that a token visits, and all of a layer."""

    @property
    def weights(self) -> int:
        return self.values * self.itemsize

    @property
    def matrices(self) -> int:
        """Weights in matrix products per token: all but the embedding, unless it is tied to the head, and of the
        experts those that a token visits."""
        every = self.values if self.tied else self.values - self.embedding
        return round(every - self.experts * (1 - self.visited[0] / self.visited[1]))

    @property
    def inner(self) -> int:
        """The same without the head, which a prompt needs only once."""
        return max(1, self.matrices - self.vocabulary * self.width)

    def read_bytes(self, rows: float) -> float:
        """Bytes of weights that a step of so many rows reads: of experts those that at least one row visits."""
        visited, every = self.visited
        unread = self.experts * (1 - visited / every) ** rows if self.experts else 0.0
        dense = self.matrices - self.experts * visited / every
        return self.itemsize * (dense + self.experts - unread)

    def rows_per_batch(self, length: float) -> float:
        """Rows of so many tokens that one batch holds."""
        return max(1.0, min(_ROWS, self.cache / (self.kv * max(1.0, length)), _LOGITS / self.vocabulary))


def profile_model(source: ModelSource, spec: Spec) -> ModelProfile | None:
    """Profile a model from its files, its config, or what the spec states (`assume`: a folder with a config, or a
    size), the first that exists.

    None if there is none of them.

    Args:
        spec: of this model alone.
    """
    values, shape, experts = size.count_parameters(source), size.read_model_shape(source), 0
    basis: Basis = "files"
    tied = True
    if values is not None:
        tied = not size.has_own_head(size.list_tensor_names(source))
        experts = size.count_expert_parameters(source) or 0
    else:
        stated = next(iter(spec.assume.values()), None)
        config = assumed_size.find_assumed_config(stated)
        if shape is None and config is not None:
            source, shape = config, size.read_model_shape(config)
        if shape is not None:
            counts = _count_config_parameters(source)
            basis, values, tied = "config", sum(counts.values()), not size.has_own_head(counts)
            experts = sum(count for name, count in counts.items() if size.is_expert(name))
        elif stated is not None and config is None:
            basis, values = "assumed", assumed_size.parse_parameter_count(stated)
            shape = assumed_size.estimate_shape(values)
    if values is None or shape is None:
        return None
    dtype = size.resolve_dtype(source, spec.dtype) or "bfloat16"
    item = size.BYTES[dtype]
    return ModelProfile(
        basis,
        values,
        shape.embedding,
        shape.vocabulary,
        shape.layers,
        shape.d_model,
        shape.attention,
        shape.kv_values * item,
        item,
        dtype,
        _resolve_device_name(spec.device),
        choose_threads(values),
        _CACHE if spec.cache_gib is None else spec.cache_gib * 2**30,
        tied,
        experts,
        size.share_of_experts(source) if experts else (1.0, 1.0),
    )


def _count_config_parameters(source: ModelSource) -> dict[str, int]:
    """Tensor -> parameters of the model that a config describes, tied ones once."""
    from elicit.loading.outline import build_meta_model, find_config_folder

    folder = find_config_folder(source)
    assert folder is not None
    return {name: value.numel() for name, value in build_meta_model(folder, source.name).named_parameters()}


def _resolve_device_name(device: str) -> str:
    if device == "cpu" or (device == "auto" and not os.path.exists("/proc/driver/nvidia/version")):
        return "cpu"
    import torch

    return ("cuda:0" if device in ("auto", "balanced") else device) if torch.cuda.is_available() else "cpu"


def estimate_host_gib(profile: ModelProfile) -> float:
    """GiB of the host's memory that a cell on a GPU takes: libraries, and weights while they are read."""
    return float((_LIBRARIES + _TRAINER + profile.weights) / 2**30)


def estimate_memory_gib(
    profile: ModelProfile, cost: CostEstimate, lengths: TokenLengths, problems: int, *, processes: int = 1
) -> float:
    """GiB at the peak of a cell. On a GPU, what the libraries take on the host is counted too.

    Args:
        processes: processes that share a full training: each holds a shard, and a whole copy in float32.
    """
    longest = max(lengths.prompt, lengths.thinking) + lengths.limit
    most = max((min(draw.rows, draw.completions) for draw in cost.fitting), default=0.0)
    rows = min(profile.rows_per_batch(longest), max(most, min(128, problems) * cost.answer.completions))
    typical = max(lengths.prompt, lengths.thinking) + lengths.thought
    answering = rows * typical * profile.kv + rows * profile.vocabulary * profile.itemsize
    passing = _PASS * 16 * profile.itemsize + (1 << 21) * 24
    training = 0.0
    if cost.training != "none":
        inner = 4 * profile.width
        activation_bytes = profile.layers * (_WIDTHS * profile.width + _INNER * inner) * profile.itemsize
        row = lengths.prompt + lengths.worked
        training = _TRAINER + min(_KEPT, 8 * row * activation_bytes)
        copied = cost.training == "adapter" and profile.dtype == "float16"  # to float32, as in full training
        full = _TRAINED / processes + (4 if processes > 1 else 0)
        training += full * profile.values if cost.training == "full" else _ADAPTER * profile.weights
        training += 4 * profile.values if copied else 0
    return float((_LIBRARIES + profile.weights + answering + passing + training) / 2**30)
