"""`ActivationCache`: activations by site, aligned at the last prompt token; its table, picture and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from elicit.activations.heat_map import render_heat_map
from elicit.activations.sites import Site, parse_site
from elicit.errors import ElicitError

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
        write_index(path, self)
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


def _parse_key(key: str | tuple[str, int] | tuple[str, int, int]) -> Site:
    return parse_site(key, [0])[0] if isinstance(key, str) else Site(key[1], key[0], *key[2:])


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _read_sites(index: Mapping[str, Any]) -> list[Site]:
    return [site for text in index["sites"] for site in parse_site(text, [])]


def write_index(folder: Path, cache: ActivationCache) -> None:
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
