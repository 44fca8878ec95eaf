"""Activations of a model on prompts, at any sites, kept in tensors whose last column is the last token.

1. Prompts (and completions, if given) run in right-padded batches through the model as it is: under `model.steer` or
   `policy.apply()` the steered model's activations are cached, with the right prompt lengths.
2. Columns are *offsets* from the last prompt token, as in `steering.positions`: offset 0 is the residual that produces
   the first new token. Prompts differ in length, so the tensors are aligned at offset 0, and NaN stands where a text
   has no such position.
3. With a folder, tensors are written there as they come (NumPy files, memory-mapped), and only a batch is in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from elicit.activations.cached import ActivationCache, write_index
from elicit.activations.sites import Site, count_heads, eager_attention, read_site, resolve_sites
from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.loading.parts import find_layer_parts
from elicit.sampling.forward import Engine
from elicit.sampling.score import PackedBatch, Scored, hidden_states, pack_sequences
from elicit.steering.positions import parse


def cache_activations(
    engine: Engine,
    sequences: Sequence[Scored],
    sites: str | Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    positions: str | Sequence[int] = "all",
    folder: str | Path | None = None,
) -> ActivationCache:
    """Run sequences and keep the activations of some sites.

    Args:
        sequences: prompts with the completions that follow them, which may be empty.
        positions: a position form, or offsets from the last prompt token (0 is that token).
        folder: where to stream the tensors; None keeps them in memory, in the model's dtype, on the CPU.

    Raises:
        ElicitError: an unknown site or position, no prompt, or tensors that do not fit into memory.
    """
    if not sequences:
        raise ElicitError("cache: no prompts are given.")
    resolved = resolve_sites(engine.hf, sites, layers)
    lengths = [len(sequence.prompt) for sequence in sequences]
    every = range(1 - max(lengths), max(len(sequence.completion) for sequence in sequences) + 1)
    offsets = resolve_offsets(positions, every)
    shapes = {site: _find_shape(engine.hf, site, len(sequences), len(offsets), len(every)) for site in resolved}
    path = None if folder is None else Path(folder)
    if path is None:
        _check_memory(shapes, engine.hf.dtype)
    tensors = {site: _allocate(shape, engine.hf.dtype, path, site) for site, shape in shapes.items()}
    patterns = any(site.name == "pattern" for site in resolved)
    caught: dict[Site, torch.Tensor] = {}
    with torch.inference_mode(), ExitStack() as stack:
        if patterns:
            stack.enter_context(eager_attention(engine.hf))
        for site in resolved:
            stack.enter_context(read_site(engine.hf, site, _make_reader(caught, site)))
        for batch in pack_sequences(engine, sequences, engine.pass_tokens):
            caught.clear()
            hidden_states(engine, batch)
            for site, tensor in caught.items():
                _copy_rows(tensors[site], tensor, site, batch, offsets, every)
    known = sorted({token for sequence in sequences for part in sequence for token in part})
    names = dict(zip(known, engine.tokenizer.convert_ids_to_tokens(known), strict=True))
    texts = tuple(tuple(names[token] for part in sequence for token in part) for sequence in sequences)
    cache = ActivationCache(tensors, offsets, tuple(every), texts, tuple(lengths))
    if path is not None:
        write_index(path, cache)
    return cache


def resolve_offsets(positions: str | Sequence[int], every: range) -> tuple[int, ...]:
    """The offsets of `every` that are named: by a position form, or one by one.

    Raises:
        ElicitError: none is.
    """
    if isinstance(positions, str):
        form = parse(positions)
        chosen = tuple(offset for offset in every if form.weight_at(offset) != 0)
    else:
        chosen = tuple(sorted(set(positions) & set(every)))
    if not chosen:
        raise ElicitError(
            f"positions {positions!r}: the texts have none of them. Offsets from the last prompt token are "
            f"{every[0]} to {every[-1]}."
        )
    return chosen


def _make_reader(caught: dict[Site, torch.Tensor], site: Site) -> Any:
    def read(tensor: torch.Tensor) -> None:
        caught[site] = tensor.detach()

    return read


def _find_shape(hf: Any, site: Site, prompts: int, columns: int, keys: int) -> tuple[int, ...]:
    if site.name == "pattern":
        heads = (count_heads(hf),) if site.head is None else ()
        return (prompts, *heads, columns, keys)
    if site.name == "z":
        layer: torch.nn.Module = architectures.get_decoder_layers(hf)[site.layer]
        projection: Any = layer.get_submodule(find_layer_parts(hf, site.layer).projection)
        width = int(projection.weight.numel()) // architectures.get_d_model(hf) // count_heads(hf)
        return (prompts, columns, width) if site.head is not None else (prompts, columns, count_heads(hf), width)
    return (prompts, columns, architectures.get_d_model(hf))


def _check_memory(shapes: Mapping[Site, tuple[int, ...]], dtype: torch.dtype) -> None:
    needed = sum(int(np.prod(shape)) for shape in shapes.values()) * dtype.itemsize
    free = psutil.virtual_memory().available
    if needed > free // 2:
        raise ElicitError(
            f"cache: these activations take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free. Give "
            "to=FOLDER, which streams them to disk, or fewer sites, layers or positions."
        )


def _allocate(shape: tuple[int, ...], dtype: torch.dtype, folder: Path | None, site: Site) -> torch.Tensor:
    if folder is None:
        return torch.full(shape, torch.nan, dtype=dtype)
    folder.mkdir(parents=True, exist_ok=True)
    kind = np.float16 if dtype == torch.float16 else np.float32  # NumPy has no bfloat16
    file = np.lib.format.open_memmap(folder / f"{site}.npy", mode="w+", dtype=kind, shape=shape)
    file[:] = np.nan
    return torch.from_numpy(file)


def _copy_rows(
    target: torch.Tensor, caught: torch.Tensor, site: Site, batch: PackedBatch, offsets: Sequence[int], every: range
) -> None:
    """Copy a batch's activations to their prompts, columns by offset."""
    if site.head is not None:
        caught = caught[:, :, site.head] if site.name == "z" else caught[:, site.head]
    if site.name != "pattern":
        rows, positions, columns = _list_positions(batch, offsets)
        target[torch.tensor(batch.indices)[rows], columns] = caught[rows, positions].to(target)
        return
    for row, (index, real, length) in enumerate(zip(batch.indices, batch.real, batch.prompt_lengths, strict=True)):
        count, first = int(real.sum()), 1 - int(length) - every[0]
        of_row = _list_positions(batch, offsets, row)
        weights = caught[row][..., of_row[1], :count].to(target)
        target[index][..., of_row[2], first : first + count] = weights


def _list_positions(
    batch: PackedBatch, offsets: Sequence[int], row: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(rows, their positions, the columns) of every position that a batch's rows, or one of them, have."""
    positions = (batch.prompt_lengths - 1)[:, None] + torch.tensor(list(offsets))
    exists = (positions >= 0) & (positions < batch.real.sum(dim=1)[:, None])
    if row is not None:
        exists &= (torch.arange(len(exists)) == row)[:, None]
    rows, columns = exists.nonzero(as_tuple=True)
    return rows, positions[rows, columns], columns
