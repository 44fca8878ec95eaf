"""Path patching: the effect of one site on another along the residual stream alone.

1. The source run gives the sender's activation.
2. In the target run the sender is replaced by it, while what every attention and MLP between sender and receiver adds
   is held at the target's own value: the change reaches the receiver through the residual stream only. The receiver's
   activation in that run is kept.
3. In a second target run the receiver alone is replaced by it, and the measure is taken.

A receiver is a component's output (attn_out, mlp_out, z, or one head's z: all its queries, keys and values see the
change), or the residual after the last layer (the direct path to the logits).

Source: 2211.00593 (path patching), 2304.05969.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from elicit.activations.cache import cache_activations
from elicit.activations.measures import LogitMeasure
from elicit.activations.replay import Replay, record_run
from elicit.activations.results import PatchSweep
from elicit.activations.sites import Replace, Site, resolve_sites
from elicit.activations.sweep import measure_plainly
from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.sampling.score import Scored, pack_sequences

if TYPE_CHECKING:
    from elicit.sampling.forward import Engine

_COMPONENTS = ("attn_out", "mlp_out", "z")
_ORDER = {"resid_pre": 0, "z": 1, "attn_out": 1, "resid_mid": 2, "mlp_out": 3, "resid_post": 4}


def patch_paths(
    engine: Engine,
    source: Sequence[Scored],
    target: Sequence[Scored],
    measure: LogitMeasure,
    *,
    senders: str | Sequence[str],
    receiver: str,
    layers: Sequence[int] | None = None,
) -> PatchSweep:
    """Patch the path from every sender to one receiver, at the last prompt token and all positions before it.

    Args:
        source, target: prompts of equal lengths, pair by pair (a path crosses positions inside attention).
        senders: sites such as "z.0.3" or "mlp_out" (in every layer before the receiver).
        receiver: one site such as "z.2.1", "mlp_out.2", or "resid_post.L" of the last layer for the logits.

    Raises:
        ElicitError: pairs of unequal lengths, a receiver that is not a component's output or the last residual, or a
            sender that does not come before it.
    """
    if [len(s.prompt) for s in source] != [len(t.prompt) for t in target]:
        raise ElicitError("path patching: source and target prompts need equal lengths, pair by pair.")
    (end,) = _resolve_receiver(engine, receiver)
    every = resolve_sites(engine.hf, senders, layers)
    resolved = tuple(site for site in every if _comes_before(site, end))
    if not resolved:
        raise ElicitError(f"path patching: none of the senders comes before {end}.")
    patched = np.zeros((1, len(resolved), 1, len(target), 1))
    with torch.inference_mode():
        for batch in pack_sequences(engine, target, engine.pass_tokens):
            replay = record_run(engine, batch)
            replay.check()
            frozen = _list_between(engine, resolved, end)
            held = cache_batch(engine, [target[i] for i in batch.indices], [*frozen, end])
            given = cache_batch(engine, [source[i] for i in batch.indices], resolved)
            for s, site in enumerate(resolved):
                received = _run_to_receiver(replay, site, given[site], end, held)
                logits = replay.run({_whole(end): _put(end, received)})
                patched[0, s, 0, batch.indices, 0] = measure.measure(engine, logits, batch.indices).cpu().numpy()
    return PatchSweep(
        measures=(measure.name,),
        kinds=("patched",),
        sites=resolved,
        offsets=(0,),
        tokens=(f"to {end}",),
        patched=patched,
        target=measure_plainly(engine, target, measure),
        source=measure_plainly(engine, source, measure),
    )


def cache_batch(engine: Engine, sequences: Sequence[Scored], sites: Sequence[Site]) -> dict[Site, torch.Tensor]:
    """Activations of whole sites, padded on the right as the batch is: [batch, pos, ...]."""
    names = sorted({f"{site.name}.{site.layer}" for site in sites})
    cache = cache_activations(engine, sequences, names)
    width = len(cache.offsets)
    tensors = {}
    for name in names:
        (site,) = resolve_sites(engine.hf, name)
        aligned = torch.zeros_like(cache[site])
        for row, length in enumerate(cache.prompt_lengths):
            aligned[row, :length] = cache[site][row, width - length :]
        tensors[site] = aligned
    return {site: tensors[_whole(site)] for site in sites}


def _run_to_receiver(
    replay: Replay, sender: Site, given: torch.Tensor, end: Site, held: Mapping[Site, torch.Tensor]
) -> torch.Tensor:
    """The receiver's activation where the sender is the source's and everything between is held."""
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[:] = [tensor.clone()]
        return tensor

    edits: dict[Site, Replace] = {}
    for site, tensor in held.items():
        if site != end and _comes_before(sender, site) and _comes_before(site, end):
            edits[site] = _put(site, tensor)
    edits[_whole(sender)] = _put(sender, given)
    if end.name == "resid_post":  # the last residual is what the replay ends with
        edits[end] = keep
    else:
        edits[_whole(end)] = keep
    replay.run(edits)
    return kept[0]


def _put(site: Site, value: torch.Tensor) -> Replace:
    """Replace the whole site, or one head of it, at every position."""

    def replace(tensor: torch.Tensor) -> torch.Tensor:
        new = value.to(tensor)
        if site.head is None:
            return new
        edited = tensor.clone()
        edited[:, :, site.head] = new[:, :, site.head]
        return edited

    return replace


def _list_between(engine: Engine, senders: Sequence[Site], end: Site) -> list[Site]:
    """Component outputs that may lie between a sender and the receiver."""
    first = min(sender.layer for sender in senders)
    return [Site(layer, name) for layer in range(first, end.layer + 1) for name in ("attn_out", "mlp_out")]


def _comes_before(left: Site, right: Site) -> bool:
    return (left.layer, _ORDER[left.name]) < (right.layer, _ORDER[right.name])


def _whole(site: Site) -> Site:
    return Site(site.layer, site.name)


def _resolve_receiver(engine: Engine, receiver: str) -> tuple[Site, ...]:
    sites = resolve_sites(engine.hf, receiver, ())
    last = len(architectures.get_decoder_layers(engine.hf)) - 1
    fits: Callable[[Site], bool] = lambda site: site.name in _COMPONENTS or site == Site(last, "resid_post")  # noqa: E731
    if len(sites) != 1 or not fits(sites[0]):
        raise ElicitError(
            f"path patching: the receiver {receiver!r} is not one component's output or the last residual. Type "
            f"attn_out.L, mlp_out.L, z.L.H, or resid_post.{last}"
        )
    return sites
