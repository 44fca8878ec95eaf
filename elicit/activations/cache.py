"""Activations of a model on prompts, at any sites, kept in tensors whose last column is the last token.

1. Prompts (and completions, if given) run in right-padded batches through the model as it is: under `model.steer` or
   `policy.apply()` the steered model's activations are cached, with the right prompt lengths.
2. Columns are *offsets* from the last prompt token, as in `steering.positions`: offset 0 is the residual that produces
   the first new token. Prompts differ in length, so the tensors are aligned at offset 0, and NaN stands where a text
   has no such position.
3. With a folder, tensors are written there as they come (NumPy files, memory-mapped), and only a batch is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from jaxtyping import Float

from elicit.activations.heat_map import render_heat_map
from elicit.activations.sites import Site, count_heads, eager_attention, parse_site, read_site, resolve_sites
from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.loading.parts import find_layer_parts
from elicit.sampling.forward import Engine
from elicit.sampling.score import PackedBatch, Scored, hidden_states, pack_sequences
from elicit.steering.positions import parse

if TYPE_CHECKING:
    import pandas as pd

_INDEX = "cache.json"


@dataclass(frozen=True, eq=False)
class ActivationCache:
    """Activations by site: `cache["resid_post", 3]` is [prompt, column, d_model], `[:, -1]` the last token.

    Without completions column -1 is the last prompt token (offset 0) of every prompt.
    """

    tensors: Mapping[Site, torch.Tensor]
    """[prompt, column, d_model]; z [prompt, column, head, d_head]; pattern [prompt, head, column, key column]."""
    offsets: tuple[int, ...]
    """Offset of every column from the last prompt token."""
    key_offsets: tuple[int, ...]
    """The same of a pattern's keys: every position of the texts."""
    texts: tuple[tuple[str, ...], ...]
    """Tokens of every prompt (and completion), as strings."""
    prompt_lengths: tuple[int, ...]

    def __getitem__(self, key: str | Site | tuple[str, int] | tuple[str, int, int]) -> torch.Tensor:
        """The tensor of a site: `"resid_post", 3`, `"z", 3, 1` (one head), or a TransformerLens hook name.

        Raises:
            ElicitError: the site was not cached.
        """
        site = key if isinstance(key, Site) else _parse_key(key)
        whole = Site(site.layer, site.name)
        if site in self.tensors:
            return self.tensors[site]
        if site.head is not None and whole in self.tensors:
            tensor = self.tensors[whole]
            return tensor[:, :, site.head] if site.name == "z" else tensor[:, site.head]
        raise ElicitError(f"{site} is not in this cache. It has: {', '.join(map(str, self.tensors))}")

    def __len__(self) -> int:
        return len(self.prompt_lengths)

    def stack(self, name: str) -> Float[torch.Tensor, "layer prompt column *rest"]:
        """One site over its cached layers."""
        layers = [tensor for site, tensor in sorted(self.tensors.items()) if site.name == name]
        if not layers:
            raise ElicitError(f"{name} is not in this cache. It has: {', '.join(map(str, self.tensors))}")
        return torch.stack(layers)

    def get_column(self, offset: int) -> int:
        """Index of the column at an offset from the last prompt token.

        Raises:
            ElicitError: the offset was not cached.
        """
        if offset not in self.offsets:
            raise ElicitError(
                f"offset {offset} is not in this cache, which has {self.offsets[0]} to {self.offsets[-1]}."
            )
        return self.offsets.index(offset)

    def frame(self) -> pd.DataFrame:
        """Norms: one row for every site, prompt and position that exists, with its token."""
        import pandas as pd

        rows = []
        for site, tensor in self.tensors.items():
            if site.name == "pattern":
                continue
            norms = tensor.flatten(2).float().norm(dim=-1)
            for prompt, (tokens, length) in enumerate(zip(self.texts, self.prompt_lengths, strict=True)):
                for column, offset in enumerate(self.offsets):
                    position = offset + length - 1
                    if 0 <= position < len(tokens):
                        where = (site.name, site.layer, prompt, offset, tokens[position])
                        rows.append((*where, float(norms[prompt, column])))
        return pd.DataFrame(rows, columns=["site", "layer", "prompt", "offset", "token", "norm"])

    def __repr__(self) -> str:
        span = f"{self.offsets[0]} to {self.offsets[-1]}" if self.offsets else "none"
        return f"ActivationCache({len(self)} prompts; offsets {span}; {', '.join(map(str, self.tensors))})"

    def _repr_html_(self) -> str:
        """Median norm of every site by offset; of a single prompt, its attention patterns."""
        sites = [site for site in self.tensors if site.name != "pattern"]
        parts = []
        if sites:
            norms = [self.tensors[site].flatten(2).float().norm(dim=-1).nanmedian(dim=0).values for site in sites]
            parts.append(
                render_heat_map(
                    torch.stack(norms).tolist(), [str(s) for s in sites], self._column_labels(), "median norm"
                )
            )
        for site in (site for site in self.tensors if site.name == "pattern"):
            mean = self.tensors[site].float().nanmean(dim=0)
            labels, keys = self._column_labels(), self._column_labels(self.key_offsets)
            heads = range(len(mean)) if site.head is None else [site.head]
            for head, rows in zip(heads, mean.reshape(len(heads), *mean.shape[-2:]).tolist(), strict=True):
                parts.append(render_heat_map(rows, labels, keys, f"pattern of layer {site.layer}, head {head}"))
        return "".join(parts)

    def _column_labels(self, offsets: Sequence[int] | None = None) -> list[str]:
        """Offsets, with the token where there is a single prompt."""
        chosen = self.offsets if offsets is None else offsets
        if len(self) != 1:
            return [str(offset) for offset in chosen]
        return [f"{offset} {self.texts[0][offset + self.prompt_lengths[0] - 1]!r}" for offset in chosen]

    def save(self, folder: str | Path) -> Path:
        """Write the cache: a NumPy file a site (bfloat16 as float32) and what they mean. `load_cache` reads it."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        for site, tensor in self.tensors.items():
            np.save(path / f"{site}.npy", _to_numpy(tensor))
        _write_index(path, self)
        return path


def load_cache(folder: str | Path) -> ActivationCache:
    """A cache that `save` wrote, memory-mapped.

    Raises:
        ElicitError: the folder does not hold one.
    """
    path = Path(folder)
    try:
        index = json.loads((path / _INDEX).read_text())
        tensors = {site: torch.from_numpy(np.load(path / f"{site}.npy", mmap_mode="c")) for site in _read_sites(index)}
        columns = tuple(index["offsets"]), tuple(index["key_offsets"])
        texts = tuple(tuple(row) for row in index["texts"])
        return ActivationCache(tensors, *columns, texts, tuple(index["prompt_lengths"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ElicitError(f"{path} is not a saved cache ({type(error).__name__}: {error}).") from None


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
        _write_index(path, cache)
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


def _parse_key(key: str | tuple[str, int] | tuple[str, int, int]) -> Site:
    return parse_site(key, [0])[0] if isinstance(key, str) else Site(key[1], key[0], *key[2:])


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _read_sites(index: Mapping[str, Any]) -> list[Site]:
    return [site for text in index["sites"] for site in parse_site(text, [])]


def _write_index(folder: Path, cache: ActivationCache) -> None:
    index = {
        "format": "elicit-activations",
        "version": 1,
        "sites": [str(site) for site in cache.tensors],
        "offsets": cache.offsets,
        "key_offsets": cache.key_offsets,
        "prompt_lengths": cache.prompt_lengths,
        "texts": cache.texts,
    }
    (folder / _INDEX).write_text(json.dumps(index) + "\n")
