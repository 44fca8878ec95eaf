"""Generate after a patched prompt, with the lab's own sampler: the patch acts while the prompt is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from elicit import seeds
from elicit.activations.measures import Answers
from elicit.activations.sites import Replace, Site, replace_site
from elicit.sampling import PLAIN, Decoding, Request, generate
from elicit.sampling.prefill import prefill_prompts

if TYPE_CHECKING:
    from elicit.sampling.forward import Engine

Patches = Mapping[tuple[Site, int], torch.Tensor]
"""(site, offset) -> what is put there: [prompt, ...]."""


def generate_patched(
    engine: Engine, prompts: Sequence[tuple[int, ...]], measure: Answers, patches: Patches
) -> list[tuple[float, float]]:
    """Accuracy and trace of every prompt's greedy (or sampled) answer, with `patches` in the prompt."""
    requests = [Request(ids, (seeds.derive_key("patched", i),)) for i, ids in enumerate(prompts)]
    forward = _PatchedForward({request.keys: i for i, request in enumerate(requests)}, patches)
    completions = generate(engine, requests, measure.get_decoding(), forward)
    return [measure.grade(i, samples[0].text) for i, samples in enumerate(completions)]


class _PatchedForward:
    """The model's forward pass, with activations of the prompts replaced."""

    def __init__(self, prompts: Mapping[Any, int], patches: Patches) -> None:
        self.prompts = prompts
        self.patches = patches

    def prefill(
        self, engine: Engine, requests: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[Any, torch.Tensor]:
        order = [self.prompts[request.keys] for request in requests]
        with ExitStack() as stack:
            for (site, offset), values in self.patches.items():
                edit = _build_edit(engine, site, offset, values[order])
                stack.enter_context(replace_site(engine.hf, Site(site.layer, site.name), edit))
            return prefill_prompts(engine, requests, samples, decoding, whole=True)

    def step(self, engine: Engine, state: Any, tokens: torch.Tensor, rows: np.ndarray, offset: int) -> torch.Tensor:
        return PLAIN.step(engine, state, tokens, rows, offset)


def _build_edit(engine: Engine, site: Site, offset: int, values: torch.Tensor) -> Replace:
    def replace(tensor: torch.Tensor) -> torch.Tensor:
        # Prompts are padded on the left, so that they end in the last column.
        edited = tensor.clone()
        column = tensor.shape[1] - 1 + offset
        where = edited[:, column] if site.head is None else edited[:, column, site.head]
        where.copy_(values.to(tensor))
        return edited

    return replace
