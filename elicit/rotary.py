"""Rotary scaling that depends on the longest row of a forward pass: group rows that may share one.

Two kinds of rotary scaling choose their frequencies by the largest position of the pass, for every row of it:

* longrope (2402.13753; Phi-3 with 128k, Phi-3.5, Phi-4-mini) has two sets: one up to
  `original_max_position_embeddings` tokens, one beyond;
* dynamic NTK has unscaled ones up to `max_position_embeddings` tokens, and different ones for each length beyond.

So that a text does not depend on its batch, rows share a pass only if each would have the same frequencies alone:
`frequency_group` gives such rows the same number. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple


class RotaryScaling(NamedTuple):
    """Dependence of the frequencies on the number of tokens in a pass."""

    kind: Literal["longrope", "dynamic"]
    limit: int
    """Most tokens with the first set."""
    recomputed: bool = False
    """True if cached keys are recomputed when generation passes the limit, as transformers' `generate` does for Phi-3;
    otherwise keys of earlier tokens keep their frequencies."""


#: Architectures whose `generate` recomputes the cache at the limit.
_RECOMPUTED = ("phi3", "phimoe", "phi4_multimodal")


def length_scaling(config: Any) -> RotaryScaling | None:
    """Length-dependent scaling of a transformers config; None for any other, including yarn and llama3."""
    config = config.get_text_config(decoder=True)
    parameters = getattr(config, "rope_parameters", None)
    if not isinstance(parameters, Mapping):
        return None
    sets = [entry for entry in parameters.values() if isinstance(entry, Mapping)] or [parameters]
    for entry in sets:
        kind = entry.get("rope_type", "default")
        if kind == "longrope":
            limit = int(entry["original_max_position_embeddings"])
            # transformers reads the limit from the config itself, and does not recompute without it.
            states_limit = getattr(config, "original_max_position_embeddings", None) is not None
            return RotaryScaling("longrope", limit, states_limit and config.model_type in _RECOMPUTED)
        if kind == "dynamic":
            return RotaryScaling("dynamic", int(config.max_position_embeddings))
    return None


def frequency_group(scaling: RotaryScaling | None, tokens: int, most: int | None = None) -> int:
    """Group number, equal for rows that may share forward passes.

    Args:
        tokens: tokens of the row in the first pass.
        most: tokens of the row in the last pass, if a cache grows.
    """
    most = tokens if most is None else most
    if scaling is None or most <= scaling.limit:
        return 0
    if scaling.kind == "longrope" and tokens > scaling.limit:
        return -1
    return tokens
