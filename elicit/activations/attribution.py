"""Attribution patching: the effect of every patch at once, to first order.

    effect  ~  (source activation - target activation) . d measure / d activation        at the target

One forward and one backward pass stand for a patch of every site, position and head. It is an approximation, wrong
where the measure saturates or the patch is large; `compare_with` says how far it agrees with an exact sweep.

Source: 2310.10348 (attribution patching), after 2211.00593.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from elicit.activations.cache import cache_activations, resolve_offsets
from elicit.activations.heat_map import render_heat_map
from elicit.activations.measures import LogitMeasure
from elicit.activations.results import PatchSweep
from elicit.activations.sites import Site, replace_site, resolve_sites
from elicit.activations.sweep import Source
from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.loading.logits import compute_model_logits
from elicit.sampling.score import PackedBatch, Scored, pack_sequences
from elicit.steering import build_padded_frame

if TYPE_CHECKING:
    import pandas as pd

    from elicit.sampling.forward import Engine


@dataclass(frozen=True, eq=False)
class AttributionScores:
    """First-order effects of patching, for every prompt."""

    measure: str
    sites: tuple[Site, ...]
    offsets: tuple[int, ...]
    effects: np.ndarray
    """[site, offset, prompt]"""

    def compare_with(self, sweep: PatchSweep) -> float:
        """Pearson's correlation of mean effects with an exact sweep's, over the sites and offsets of both."""
        mine = {(s, o): self.effects[i, j].mean() for i, s in enumerate(self.sites) for j, o in enumerate(self.offsets)}
        exact = sweep.get_effects().mean(axis=-1)
        pairs = [
            (mine[s, o], exact[i, j])
            for i, s in enumerate(sweep.sites)
            for j, o in enumerate(sweep.offsets)
            if (s, o) in mine
        ]
        if len(pairs) < 3:
            raise ElicitError("attribution: the sweep has fewer than three patches in common with these scores.")
        left, right = np.array(pairs).T
        return float(np.corrcoef(left, right)[0, 1])

    def frame(self) -> pd.DataFrame:
        """One row for every site and offset: mean first-order effect and n."""
        import pandas as pd

        rows = [
            (site.name, site.layer, site.head, offset, self.effects[s, o].mean(), self.effects.shape[-1])
            for s, site in enumerate(self.sites)
            for o, offset in enumerate(self.offsets)
        ]
        return pd.DataFrame(rows, columns=["site", "layer", "head", "offset", "effect", "n"])

    def __repr__(self) -> str:
        means = self.effects.mean(axis=-1)
        s, o = np.unravel_index(np.argmax(np.abs(means)), means.shape)
        return (
            f"AttributionScores({self.measure}, {self.effects.shape[-1]} prompts; largest {means[s, o]:+.3f} at "
            f"{self.sites[s]}, offset {self.offsets[o]})"
        )

    def _repr_html_(self) -> str:
        title = f"{self.measure}, first order (n = {self.effects.shape[-1]})"
        labels = [str(site) for site in self.sites], [str(offset) for offset in self.offsets]
        return render_heat_map(self.effects.mean(axis=-1).tolist(), *labels, title)


def attribute_patches(
    engine: Engine,
    source: Source,
    target: Sequence[Scored],
    measure: LogitMeasure,
    *,
    sites: str | Sequence[str] = "resid_post",
    layers: Sequence[int] | None = None,
    positions: str | Sequence[int] = "all",
) -> AttributionScores:
    """First-order effects of the patches that `sweep_patches` would do one at a time.

    Raises:
        ElicitError: as `sweep_patches`.
    """
    resolved = resolve_sites(engine.hf, sites, layers)
    if any(site.name == "pattern" for site in resolved):
        raise ElicitError("attribution: patterns can be read, not replaced. Take z, the heads' outputs.")
    if len(source) != len(target) or not target:
        raise ElicitError(f"attribution: {len(source)} source and {len(target)} target prompts; expected one for each.")
    names = sorted({f"{site.name}.{site.layer}" for site in resolved})
    lengths = [len(sequence.prompt) for sequence in target]
    cache = source if not isinstance(source, Sequence) else cache_activations(engine, source, names)
    least = min(lengths) if not isinstance(source, Sequence) else min(*lengths, *(len(s.prompt) for s in source))
    offsets = resolve_offsets(positions, range(1 - least, 1))
    offsets = tuple(offset for offset in offsets if offset in cache.offsets)
    effects = np.zeros((len(resolved), len(offsets), len(target)))
    columns = [cache.get_column(offset) for offset in offsets]
    for batch in pack_sequences(engine, target, engine.pass_tokens):
        values, gradients = _differentiate(engine, batch, measure, names)
        for row, index in enumerate(batch.indices):
            where = [offset + int(batch.prompt_lengths[row]) - 1 for offset in offsets]
            for s, site in enumerate(resolved):
                name = f"{site.name}.{site.layer}"
                own, gradient = values[name][row, where], gradients[name][row, where]
                if site.head is not None:
                    own, gradient = own[:, site.head], gradient[:, site.head]
                change = cache[site][index, columns].to(own) - own
                effects[s, :, index] = (change * gradient).flatten(1).double().sum(-1).cpu().numpy()
    return AttributionScores(measure.name, resolved, offsets, effects)


def _differentiate(
    engine: Engine, batch: PackedBatch, measure: LogitMeasure, names: Sequence[str]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Activations and gradients of the summed measure at every site: [batch, pos, ...] each, in float32."""
    values: dict[str, torch.Tensor] = {}
    leaves: dict[str, torch.Tensor] = {}

    def make_hook(name: str) -> Any:
        def add_leaf(tensor: torch.Tensor) -> torch.Tensor:
            values[name] = tensor.detach()
            leaves[name] = torch.zeros_like(tensor, requires_grad=True)
            return tensor + leaves[name]

        return add_leaf

    engine.clock.explicit = build_padded_frame(batch.real, batch.prompt_lengths)
    try:
        with torch.enable_grad(), ExitStack() as stack:
            for name in names:
                (site,) = resolve_sites(engine.hf, name)
                stack.enter_context(replace_site(engine.hf, site, make_hook(name)))
            decoder = architectures.get_decoder(engine.hf)
            hidden = decoder(input_ids=batch.ids.to(engine.hf.device), use_cache=False).last_hidden_state
            rows = torch.arange(len(hidden), device=hidden.device)
            logits = compute_model_logits(engine.hf, hidden[rows, (batch.prompt_lengths - 1).to(hidden.device)])
            total = measure.measure(engine, logits, batch.indices).sum()
            gradients = torch.autograd.grad(total, [leaves[name] for name in names])
    finally:
        engine.clock.explicit = None
    return (
        {name: tensor.float() for name, tensor in values.items()},
        {name: gradient.float() for name, gradient in zip(names, gradients, strict=True)},
    )
