"""Activation patching over sites and positions, with its controls.

1. The source run (other prompts, or the same prompts under a policy) gives activations; the target run takes one of
   them, at one site and one position, in place of its own. Positions are offsets from the last prompt token, so that
   prompts of different lengths are aligned at their ends.
2. For every site and offset the measure is taken per prompt: of logits by replaying the layers from the patched one on
   (`activations.replay`), many patches in one batch; of answers by generating after the patched prompt.
3. Controls get the same treatment: `shuffled` takes the activation of another prompt's source run (what is left of the
   effect is the condition's, not the problem's), `mean` puts the mean over the *target* prompts there (what is lost is
   the site's own information; nothing of the source enters).

Sources: 2202.05262 (causal tracing), 2211.00593 (patching by position and component), 2309.16042 (good practice).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from elicit import seeds
from elicit.activations.cache import cache_activations, resolve_offsets
from elicit.activations.cached import ActivationCache
from elicit.activations.generation import generate_patched
from elicit.activations.measures import Answers, LogitMeasure
from elicit.activations.replay import record_run
from elicit.activations.results import KINDS, PatchSweep
from elicit.activations.sites import Site, resolve_sites
from elicit.errors import ElicitError
from elicit.sampling.score import PackedBatch, Scored, pack_sequences

if TYPE_CHECKING:
    from elicit.sampling.forward import Engine

Source = ActivationCache | Sequence[Scored]


def sweep_patches(
    engine: Engine,
    source: Source,
    target: Sequence[Scored],
    measure: LogitMeasure | Answers,
    *,
    sites: str | Sequence[str] = "resid_post",
    layers: Sequence[int] | None = None,
    positions: str | Sequence[int] = "all",
    controls: Sequence[str] = ("shuffled", "mean"),
    source_values: np.ndarray | None = None,
    seed: int = 0,
) -> PatchSweep:
    """Patch every site at every offset from `source` into `target`, one at a time.

    Args:
        source: prompts, or their cached activations; prompt i is patched into target prompt i.
        positions: a position form or offsets; those before a prompt's beginning are left out.
        controls: of "shuffled" and "mean".
        source_values: the source's own measure [prompt, measure], where `source` is a cache.
        seed: of the shuffle, in which no prompt keeps its own source.

    Raises:
        ElicitError: unequal numbers of prompts, an unknown site, position or control, patterns (which can be read
            only), or a model whose layers cannot be run one by one.
    """
    resolved = resolve_sites(engine.hf, sites, layers)
    _check_arguments(source, target, resolved, controls)
    every = range(1 - min(len(sequence.prompt) for sequence in target), 1)
    offsets = resolve_offsets(positions, every)
    names = sorted({f"{site.name}.{site.layer}" for site in resolved})
    if isinstance(source, ActivationCache):
        cache = source
        offsets = tuple(offset for offset in offsets if offset in cache.offsets)
    else:
        shortest = min(len(sequence.prompt) for sequence in source)
        offsets = tuple(offset for offset in offsets if offset > -shortest)
        cache = cache_activations(engine, source, names, positions=offsets)
        source_values = measure_plainly(engine, source, measure)
    if not offsets:
        raise ElicitError("patch: source and target have no position in common among those asked for.")
    own = cache_activations(engine, target, names, positions=offsets) if "mean" in controls else None
    columns = [cache.get_column(offset) for offset in offsets]
    order = _derange(len(target), seed)

    def get_values(kind: str, site: Site) -> torch.Tensor:
        """[prompt, offset, ...]: what is put at the site."""
        if kind == "mean":
            assert own is not None
            return own[site].float().mean(dim=0, keepdim=True).expand(len(target), *own[site].shape[1:])
        values = cache[site][:, columns]
        return values[order] if kind == "shuffled" else values

    kinds = tuple(kind for kind in KINDS if kind == "patched" or kind in controls)
    if isinstance(measure, Answers):
        patched = _sweep_answers(engine, target, measure, resolved, offsets, kinds, get_values)
    else:
        patched = _sweep_logits(engine, target, measure, resolved, offsets, kinds, get_values)
    tokens = _name_columns(engine, target, offsets)
    return PatchSweep(
        measures=measure.names if isinstance(measure, Answers) else (measure.name,),
        kinds=kinds,
        sites=resolved,
        offsets=offsets,
        tokens=tokens,
        patched=patched,
        target=measure_plainly(engine, target, measure),
        source=source_values,
    )


def _check_arguments(source: Source, target: Sequence[Scored], sites: Sequence[Site], controls: Sequence[str]) -> None:
    if len(source) != len(target) or not target:
        raise ElicitError(
            f"patch: {len(source)} source prompts and {len(target)} target prompts; expected one source for each."
        )
    if any(site.name == "pattern" for site in sites):
        raise ElicitError("patch: patterns can be read, not replaced. Take z, the heads' outputs.")
    for control in controls:
        if control not in KINDS[1:]:
            raise ElicitError(f"patch: control {control!r} is not known. Expected: {', '.join(KINDS[1:])}")
    if "shuffled" in controls and len(target) < 2:
        raise ElicitError('patch: one prompt cannot be shuffled. Give more prompts, or controls=("mean",) or ().')


def _derange(n: int, seed: int) -> list[int]:
    """A seeded order in which nothing keeps its place."""
    order = seeds.make_generator("shuffled source", seed).permutation(n).tolist()
    where = {prompt: i for i, prompt in enumerate(order)}
    return [order[(where[prompt] + 1) % n] for prompt in range(n)]


def measure_plainly(engine: Engine, sequences: Sequence[Scored], measure: LogitMeasure | Answers) -> np.ndarray:
    """The measure without a patch: [prompt, measure]."""
    if isinstance(measure, Answers):
        return np.array(generate_patched(engine, [s.prompt for s in sequences], measure, {}))
    values = np.zeros((len(sequences), 1))
    with torch.inference_mode():
        for batch in pack_sequences(engine, sequences, engine.pass_tokens):
            logits = record_run(engine, batch).logits
            values[batch.indices, 0] = measure.measure(engine, logits, batch.indices).cpu().numpy()
    return values


def _sweep_answers(
    engine: Engine,
    target: Sequence[Scored],
    measure: Answers,
    sites: Sequence[Site],
    offsets: Sequence[int],
    kinds: Sequence[str],
    get_values: Callable[[str, Site], torch.Tensor],
) -> np.ndarray:
    """Generate after every patch: [kind, site, offset, prompt, measure]."""
    prompts = [sequence.prompt for sequence in target]
    patched = np.zeros((len(kinds), len(sites), len(offsets), len(target), len(measure.names)))
    for k, kind in enumerate(kinds):
        for s, site in enumerate(sites):
            values = get_values(kind, site)
            for o, offset in enumerate(offsets):
                patched[k, s, o] = generate_patched(engine, prompts, measure, {(site, offset): values[:, o]})
    return patched


def _sweep_logits(
    engine: Engine,
    target: Sequence[Scored],
    measure: LogitMeasure,
    sites: Sequence[Site],
    offsets: Sequence[int],
    kinds: Sequence[str],
    get_values: Callable[[str, Site], torch.Tensor],
) -> np.ndarray:
    """Replay every patch, (prompt, kind, offset) triples in one batch: [kind, site, offset, prompt, measure]."""
    patched = np.full((len(kinds), len(sites), len(offsets), len(target), 1), np.nan)
    pairs = [(k, o) for k in range(len(kinds)) for o in range(len(offsets))]
    values = {(kind, site): get_values(kind, site) for kind in kinds for site in sites}
    checked = False
    with torch.inference_mode():
        for batch in pack_sequences(engine, target, engine.pass_tokens):
            recorded = record_run(engine, batch)
            if not checked:
                recorded.select([0, len(batch.indices) - 1, 0]).check()
                checked = True
            for rows, settings in _split_rows(batch, pairs, engine.pass_tokens):
                replay = recorded.select(rows)
                prompts = replay.prompts
                where = replay.prompt_lengths - 1 + torch.tensor([offsets[o] for _, o in settings])
                for s, site in enumerate(sites):
                    new = torch.stack(
                        [values[kinds[k], site][prompt, o] for prompt, (k, o) in zip(prompts, settings, strict=True)]
                    )
                    logits = replay.run(_build_edit(site, where, new))
                    measured = measure.measure(engine, logits, prompts).cpu().numpy()
                    for prompt, (k, o), value in zip(prompts, settings, measured, strict=True):
                        patched[k, s, o, prompt, 0] = value
    return patched


def _split_rows(
    batch: PackedBatch, pairs: Sequence[tuple[int, int]], most: int
) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Cut the product of a batch's rows and the settings into parts of at most `most` padded tokens."""
    product = [(row, pair) for row in range(len(batch.indices)) for pair in pairs]
    size = max(1, most // batch.ids.shape[1])
    parts = [product[start : start + size] for start in range(0, len(product), size)]
    return [([row for row, _ in part], [pair for _, pair in part]) for part in parts]


def _build_edit(site: Site, where: torch.Tensor, new: torch.Tensor) -> Mapping[Site, Any]:
    """The edit that puts row i's value `new[i]` at its position `where[i]`."""
    whole = Site(site.layer, site.name)

    def replace(tensor: torch.Tensor) -> torch.Tensor:
        edited = tensor.clone()
        rows = torch.arange(len(where), device=tensor.device)
        value = new.to(tensor)
        if site.head is None:
            edited[rows, where.to(tensor.device)] = value
        else:
            edited[rows, where.to(tensor.device), site.head] = value
        return edited

    return {whole: replace}


def _name_columns(engine: Engine, target: Sequence[Scored], offsets: Sequence[int]) -> tuple[str, ...]:
    """The token at every offset where all target prompts have the same one; else an empty string."""
    names = []
    for offset in offsets:
        ids = {sequence.prompt[offset + len(sequence.prompt) - 1] for sequence in target}
        names.append(str(engine.tokenizer.convert_ids_to_tokens(ids.pop())) if len(ids) == 1 else "")
    return tuple(names)
