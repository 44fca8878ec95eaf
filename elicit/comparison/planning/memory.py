"""Memory of a worker, estimated from a model's config and its files' headers."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from elicit.comparison.spec import Spec, assumed_size
from elicit.loading import size
from elicit.loading.catalog import Source
from elicit.loading.threads import choose_threads
from elicit.method import Demand, Lengths

#: Python, torch, transformers and a tokenizer; what trl and its trainer add.
_LIBRARIES, _TRAINER = 0.55 * 2**30, 0.45 * 2**30
#: The sampler's default budget of keys and values (`elicit.sampling.cache`), and its tokens times width in one pass.
_CACHE, _PASS = 1 << 30, 1 << 21
#: Rows of one batch of answers, and rows times vocabulary in it.
_ROWS, _LOGITS = 256, 1 << 26
#: Activations kept for a backward pass (`elicit.training.passes`): the most, and values per token and layer.
_KEPT, _WIDTHS, _INNER = 2 << 30, 32, 10


Basis = Literal["files", "config", "assumed"]
"""What the size of a model is known from."""


class Known(NamedTuple):
    """What memory and time of a model depend on."""

    basis: Basis
    values: int
    embedding: int
    vocabulary: int
    layers: int
    width: int
    kv: int
    """Bytes that a token takes in the cache."""
    itemsize: int
    dtype: str
    device: str
    threads: int
    cache: float
    """Bytes of keys and values in a batch, at most."""

    @property
    def weights(self) -> int:
        return self.values * self.itemsize

    @property
    def matrices(self) -> int:
        """Values that a token multiplies with: all but the embedding, where the head is one of its own."""
        tied = self.values < 2 * self.embedding + self.layers * 8 * self.width * self.width
        return self.values if tied else self.values - self.embedding

    @property
    def inner(self) -> int:
        """The same without the head, which prompts need once only."""
        return max(1, self.matrices - self.vocabulary * self.width)

    def rows(self, length: float) -> float:
        """Rows of so many tokens that one batch holds."""
        return max(1.0, min(_ROWS, self.cache / (self.kv * max(1.0, length)), _LOGITS / self.vocabulary))


def known(source: Source, spec: Spec) -> Known | None:
    """What is known of a model: from its files; else from its config, if that is here; else from the size that the spec
    states (`assume`). None where there is none of them.

    Args:
        spec: of this model alone.
    """
    values, shape, dtype = size.parameters(source), size.shape(source), size.held_dtype(source, spec.dtype)
    basis: Basis = "files"
    if values is None or dtype is None:
        stated = next(iter(spec.assume.values()), None)
        dtype = spec.dtype if spec.dtype != "auto" else "bfloat16"
        if shape is not None:
            basis, values = "config", _counted(source)
        elif stated is not None:
            basis, values = "assumed", assumed_size.values(stated)
            shape = assumed_size.shape(values)
    if values is None or shape is None:
        return None
    item = size.BYTES[dtype]
    return Known(
        basis,
        values,
        shape.embedding,
        shape.vocabulary,
        shape.layers,
        shape.d_model,
        shape.kv_values * item,
        item,
        dtype,
        _device(spec.device),
        choose_threads(values),
        _CACHE if spec.cache_gib is None else spec.cache_gib * 2**30,
    )


def _counted(source: Source) -> int:
    """Parameters of the model that a config describes, tied ones once."""
    from elicit.loading.outline import folder_of, hollow

    folder = folder_of(source)
    assert folder is not None
    return sum(parameter.numel() for parameter in hollow(folder, source.name).parameters())


def _device(device: str) -> str:
    if device == "cpu" or (device == "auto" and not os.path.exists("/proc/driver/nvidia/version")):
        return "cpu"
    import torch

    return ("cuda:0" if device in ("auto", "balanced") else device) if torch.cuda.is_available() else "cpu"


def gib(model: Known, wanted: Demand, lengths: Lengths, problems: int) -> float:
    """GiB at the peak of a cell. On a GPU, what the libraries take on the host is counted too."""
    longest = max(lengths.prompt, lengths.thinking) + lengths.limit
    most = max((min(one.rows, one.completions) for one in wanted.fitting), default=0.0)
    rows = min(model.rows(longest), max(most, min(128, problems) * wanted.answer.completions))
    typical = max(lengths.prompt, lengths.thinking) + lengths.thought
    answering = rows * typical * model.kv + rows * model.vocabulary * model.itemsize
    passing = _PASS * 16 * model.itemsize + (1 << 21) * 24
    training = 0.0
    if wanted.training != "none":
        inner = 4 * model.width
        kept = model.layers * (_WIDTHS * model.width + _INNER * inner) * model.itemsize
        row = lengths.prompt + lengths.worked
        training = _TRAINER + min(_KEPT, 8 * row * kept)
        training += 4 * model.weights if wanted.training == "full" else 0.15 * model.weights
    return float((_LIBRARIES + model.weights + answering + passing + training) / 2**30)
