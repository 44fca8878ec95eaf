"""A prompt read through a lens: at every layer and position what the model would say if it stopped there."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from elicit.errors import ElicitError
from elicit.inside.lenses.mapping import LensMap
from elicit.inside.lenses.passes import encode_texts, iterate_residuals
from elicit.inside.pictures import Cell, render_cells
from elicit.model import BaseModel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class PromptReading:
    """One prompt through a lens. Positions count from 0."""

    tokens: tuple[str, ...]
    """The prompt's tokens."""
    top_ids: np.ndarray
    """[layer, pos, k]: the likeliest tokens."""
    top_logprobs: np.ndarray
    """[layer, pos, k]: their log-probabilities, in nats."""
    entropy: np.ndarray
    """[layer, pos], in nats."""
    kl: np.ndarray
    """[layer, pos]: KL(model's output || lens), in nats, at the same position."""
    logits: np.ndarray
    """[layer, pos, chosen token]"""
    logprobs: np.ndarray
    """[layer, pos, chosen token], in nats."""
    ranks: np.ndarray
    """[layer, pos, chosen token]: 0 for the likeliest."""


@dataclass(frozen=True, eq=False)
class LensReading:
    """Prompts through a lens."""

    kind: str
    layers: tuple[int, ...]
    chosen: tuple[str, ...]
    """The tokens followed, as strings."""
    prompts: tuple[PromptReading, ...]
    vocabulary: dict[int, str]
    """The top tokens' ids, as strings."""

    def frame(self) -> pd.DataFrame:
        """One row for every prompt, layer and position: top token, its probability, entropy, KL, chosen tokens."""
        import pandas as pd

        return pd.DataFrame([self._describe(p, i, t) for p, i, t in self._places()])

    def _places(self) -> list[tuple[int, int, int]]:
        return [
            (p, i, t)
            for p, prompt in enumerate(self.prompts)
            for i in range(len(self.layers))
            for t in range(len(prompt.tokens))
        ]

    def _describe(self, p: int, i: int, t: int) -> dict[str, Any]:
        prompt = self.prompts[p]
        row: dict[str, Any] = {
            "prompt": p,
            "layer": self.layers[i],
            "position": t,
            "token": prompt.tokens[t],
            "top": self.vocabulary[int(prompt.top_ids[i, t, 0])],
            "probability": math.exp(prompt.top_logprobs[i, t, 0]),
            "entropy": float(prompt.entropy[i, t]),
            "kl": float(prompt.kl[i, t]),
        }
        for c, name in enumerate(self.chosen):
            row |= {
                f"logit {name}": float(prompt.logits[i, t, c]),
                f"logprob {name}": float(prompt.logprobs[i, t, c]),
                f"rank {name}": int(prompt.ranks[i, t, c]),
            }
        return row

    def mean_kl(self, skip_first: int = 1) -> np.ndarray:
        """[layer]: KL(model's output || lens), mean over all prompts' positions but the first ones, in nats.

        Lenses are not fitted on the first position, an attention sink.
        """
        return np.asarray(np.concatenate([prompt.kl[:, skip_first:] for prompt in self.prompts], axis=1).mean(axis=1))

    def __repr__(self) -> str:
        positions = sum(len(prompt.tokens) for prompt in self.prompts)
        lines = [f"LensReading({self.kind} lens, {len(self.prompts)} prompts, {positions} positions)"]
        prompt = self.prompts[0]
        for i, layer in enumerate(self.layers):
            top = self.vocabulary[int(prompt.top_ids[i, -1, 0])]
            lines.append(
                f"  layer {layer}: {top!r} ({math.exp(prompt.top_logprobs[i, -1, 0]):.2f}) after prompt 0; "
                f"KL {self.mean_kl()[i]:.3f} nats"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The top token of every layer and position of the first prompts, darker where it is more probable."""
        return "".join(self._render(p) for p in range(min(3, len(self.prompts))))

    def _render(self, p: int) -> str:
        prompt = self.prompts[p]
        cells = []
        for i in reversed(range(len(self.layers))):
            row = []
            for t in range(len(prompt.tokens)):
                names = [self.vocabulary[int(token)] for token in prompt.top_ids[i, t]]
                values = np.exp(prompt.top_logprobs[i, t])
                title = ", ".join(f"{name!r} {value:.2f}" for name, value in zip(names, values, strict=True))
                row.append(Cell(names[0], float(values[0]), f"{title}; KL {prompt.kl[i, t]:.2f}"))
            cells.append(row)
        rows = [f"layer {layer}" for layer in reversed(self.layers)]
        return render_cells(cells, rows, prompt.tokens, f"{self.kind} lens, prompt {p}: top token and its probability")

    def save(self, path: str | Path) -> Path:
        """Write the rows of `frame` as JSON."""
        file = Path(path)
        rows = [self._describe(*place) for place in self._places()]
        file.write_text(json.dumps({"lens": self.kind, "rows": rows}, indent=1) + "\n")
        return file


def read_prompts(
    lens: LensMap,
    prompts: Sequence[str],
    *,
    tokens: Sequence[str | int] = (),
    layers: Sequence[int] | None = None,
    top: int = 5,
) -> LensReading:
    """Read prompts through a lens; see `Lens.read`."""
    model = lens.model
    chosen_layers = lens.choose_layers(layers)
    sequences = encode_texts(model, prompts)
    ids = resolve_tokens(model, tokens)
    last = model.n_layers - 1
    results: list[PromptReading | None] = [None] * len(sequences)
    read_layers = sorted({*chosen_layers, last})
    for batch, residuals in iterate_residuals(model, sequences, read_layers):
        for row, index in enumerate(batch.indices):
            length = len(sequences[index].prompt)
            by_layer = {layer: residuals[i, row, :length] for i, layer in enumerate(read_layers)}
            names = model.tokenizer.convert_ids_to_tokens(list(sequences[index].prompt))
            results[index] = _read_prompt(lens, by_layer, chosen_layers, ids, top, tuple(map(str, names)))
    done = tuple(result for result in results if result is not None)
    used = sorted({int(token) for result in done for token in result.top_ids.ravel()})
    vocabulary = {token: model.tokenizer.decode([token]) for token in used}
    return LensReading(lens.kind, chosen_layers, tuple(model.tokenizer.decode([i]) for i in ids), done, vocabulary)


def _read_prompt(
    lens: LensMap,
    residuals: dict[int, torch.Tensor],
    layers: tuple[int, ...],
    ids: list[int],
    top: int,
    names: tuple[str, ...],
) -> PromptReading:
    length, size, last = len(names), lens.positions_at_once, lens.model.n_layers - 1
    parts: list[list[np.ndarray]] = []
    with torch.inference_mode():
        for start in range(0, length, size):
            here = slice(start, start + size)
            final = lens.compute_logits(residuals[last][here], last).log_softmax(-1)
            measured = [_measure(lens.compute_logits(residuals[i][here], i), final, ids, top) for i in layers]
            parts.append([np.stack(values) for values in zip(*measured, strict=True)])
    return PromptReading(names, *(np.concatenate(values, axis=1) for values in zip(*parts, strict=True)))


def _measure(logits: torch.Tensor, final: torch.Tensor, ids: list[int], top: int) -> list[np.ndarray]:
    """The fields of a `PromptReading` for some positions of one layer, in order."""
    logprobs = logits.log_softmax(-1)
    best = logprobs.topk(min(top, logits.shape[-1]))
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    kl = (final.exp() * (final - logprobs)).sum(-1).clamp(min=0)
    picked = logits[:, ids]
    ranks = (logits[:, None, :] > picked[:, :, None]).sum(-1) if ids else picked.long()
    fields = (best.indices, best.values, entropy, kl, picked, logprobs[:, ids], ranks)
    return [field.cpu().numpy() for field in fields]


def resolve_tokens(model: BaseModel, tokens: Sequence[str | int]) -> list[int]:
    """Ids of tokens given as ids, or as texts that are one token where they continue a text.

    Raises:
        ElicitError: an id that the weights lack, or a text of several tokens.
    """
    ids = []
    for token in tokens:
        if isinstance(token, str):
            encoded = model.continuation(token)
            if len(encoded) != 1:
                pieces = model.tokenizer.convert_ids_to_tokens(list(encoded))
                raise ElicitError(f"lens: {token!r} is {len(encoded)} tokens ({pieces}). Give one of them, or its id.")
            ids.append(encoded[0])
        else:
            count = model.hf.get_output_embeddings().weight.shape[0]
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < count:
                raise ElicitError(f"lens: token id {token!r} does not exist. Ids are 0 to {count - 1}.")
            ids.append(token)
    return ids
