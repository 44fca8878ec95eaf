"""Read the residual stream: activations at chosen positions, and the norms that serve as the unit of strengths."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from elicit.context import check_text_fits, context_length
from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.rotary import frequency_group, length_scaling

_TOKENS = 1 << 13


@dataclass(frozen=True)
class Norms:
    """Median residual norm after each layer, over the tokens of a text: `norms[layer]`."""

    medians: tuple[float, ...]
    tokens: int
    """Number of tokens of that text."""
    text_sha256: str

    def __getitem__(self, layer: int) -> float:
        """The median after one layer.

        Raises:
            ElicitError: the model does not have that layer.
        """
        if not 0 <= layer < len(self.medians):
            raise ElicitError(f"layer {layer} does not exist. Layers are 0 to {len(self.medians) - 1}.")
        return self.medians[layer]

    def __len__(self) -> int:
        return len(self.medians)


def residuals_at(
    hf: Any, layers: Sequence[nn.Module], sequences: Sequence[Sequence[int]], positions: Sequence[int]
) -> Float[torch.Tensor, "layer sequence d_model"]:
    """Read the residual after every layer at one absolute position per sequence, in float32 on the CPU."""
    residual_rows: list[torch.Tensor | None] = [None] * len(sequences)
    for indices, caught, _ in _run_passes(hf, layers, sequences):
        at = torch.tensor([positions[i] for i in indices], device=caught.device)
        picked = caught[:, torch.arange(len(indices), device=caught.device), at].float().cpu()
        for row, index in enumerate(indices):
            residual_rows[index] = picked[:, row]
    return torch.stack([row for row in residual_rows if row is not None], dim=1)


def residual_norms(hf: Any, layers: Sequence[nn.Module], sequences: Sequence[Sequence[int]]) -> Norms:
    """Median residual norm after every layer, excluding padding and the first two tokens of each sequence.

    The first token's norm is an outlier in real models (attention sinks), by a factor of 60 or more.

    Raises:
        ValueError: no sequence is longer than two tokens.
    """
    norms: list[torch.Tensor] = []
    for _, caught, real in _run_passes(hf, layers, sequences):
        real[:, :2] = False
        norms.append(caught.float().norm(dim=-1)[:, real].cpu())
    gathered = torch.cat(norms, dim=1) if norms else torch.zeros(len(layers), 0)
    if gathered.shape[1] == 0:
        raise ValueError("residual norms need a text of more than two tokens")
    digest = hashlib.sha256(str([list(sequence) for sequence in sequences]).encode()).hexdigest()
    return Norms(tuple(gathered.median(dim=1).values.tolist()), gathered.shape[1], digest)


def _run_passes(
    hf: Any, layers: Sequence[nn.Module], sequences: Sequence[Sequence[int]]
) -> Iterator[tuple[list[int], Float[torch.Tensor, "layer batch pos d_model"], torch.Tensor]]:
    """Run right-padded batches; yields (sequence indices, residuals after every layer, real-token mask)."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    check_text_fits(max(map(len, sequences), default=0), context_length(vars(hf.config.get_text_config(decoder=True))))
    per_token, scaling = len(layers), length_scaling(hf.config)
    while order:
        width = len(sequences[order[-1]])
        group = frequency_group(scaling, width)
        alike = sum(frequency_group(scaling, len(sequences[i])) == group for i in order)
        count = min(alike, max(1, _TOKENS // (width * per_token) * 4))
        indices, order = order[-count:], order[:-count]
        ids = torch.zeros(len(indices), width, dtype=torch.long)
        real = torch.zeros(len(indices), width, dtype=torch.bool)
        for row, index in enumerate(indices):
            ids[row, : len(sequences[index])] = torch.tensor(list(sequences[index]))
            real[row, : len(sequences[index])] = True
        with torch.inference_mode(), _capture_outputs(layers) as caught:
            architectures.get_decoder(hf)(input_ids=ids.to(hf.device), use_cache=False)
        device = caught[0].device  # layers may be on several
        yield indices, torch.stack([caught[i].to(device) for i in range(len(layers))]), real


@contextmanager
def _capture_outputs(layers: Sequence[nn.Module]) -> Iterator[dict[int, torch.Tensor]]:
    """Capture each layer's output."""
    caught: dict[int, torch.Tensor] = {}

    def make_hook(i: int) -> Any:
        def capture_output(module: nn.Module, args: Any, output: Any) -> None:
            caught[i] = (output[0] if isinstance(output, tuple) else output).detach()

        return capture_output

    handles = [layer.register_forward_hook(make_hook(i)) for i, layer in enumerate(layers)]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()
