"""Rotary scaling that looks at the longest row of a forward pass: which rows may share one.

Two kinds of rotary scaling choose their frequencies by the largest position of the pass, for every row of it:

* longrope (2402.13753; Phi-3 with 128k, Phi-3.5, Phi-4-mini) has two sets: one up to
  `original_max_position_embeddings` tokens, one beyond;
* dynamic NTK has the plain ones up to `max_position_embeddings` tokens, and others for each length beyond.

So that a text does not depend on its batch, rows share a pass only if each would have the same frequencies alone:
`shared_pass` gives rows that may the same number. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple


class RotaryScaling(NamedTuple):
    """How the frequencies depend on the number of tokens of a pass."""

    kind: Literal["longrope", "dynamic"]
    limit: int
    """Tokens up to which the first set is used."""
    recomputed: bool = False
    """Whether the keys of a cache are computed again when a generation passes the limit, as transformers' `generate`
    does for Phi-3; otherwise those of earlier tokens keep the frequencies they were computed with."""


#: Families whose `generate` computes the cache again at the limit.
_RECOMPUTED = ("phi3", "phimoe", "phi4_multimodal")


def length_scaling(config: Any) -> RotaryScaling | None:
    """The scaling of a transformers config that depends on length; None for any other, yarn and llama3 included."""
    config = config.get_text_config(decoder=True)
    parameters = getattr(config, "rope_parameters", None)
    if not isinstance(parameters, Mapping):
        return None
    sets = [entry for entry in parameters.values() if isinstance(entry, Mapping)] or [parameters]
    for entry in sets:
        kind = entry.get("rope_type", "default")
        if kind == "longrope":
            limit = int(entry["original_max_position_embeddings"])
            # transformers asks the config itself for the limit, and does not compute again where it does not say it.
            states_limit = getattr(config, "original_max_position_embeddings", None) is not None
            return RotaryScaling("longrope", limit, states_limit and config.model_type in _RECOMPUTED)
        if kind == "dynamic":
            return RotaryScaling("dynamic", int(config.max_position_embeddings))
    return None


def frequency_group(scaling: RotaryScaling | None, tokens: int, most: int | None = None) -> int:
    """A number that is equal for rows which may share forward passes.

    Args:
        tokens: of the row in the first pass.
        most: of the row in the last pass, where a cache grows.
    """
    most = tokens if most is None else most
    if scaling is None or most <= scaling.limit:
        return 0
    if scaling.kind == "longrope" and tokens > scaling.limit:
        return -1
    return tokens
