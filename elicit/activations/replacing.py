"""Replace activations by a function of one's own while a context is open: ablations, hooks, patches during sampling.

1. A site's hook (`activations.sites`) hands the function the activation: [batch, pos, d_model], for `z`
   [batch, pos, head, d_head], for one head [batch, pos, d_head].
2. The result takes its place at the chosen positions, which are offsets from the last prompt token (0), as in a cache.
   Everything else, padding included, keeps its values bit for bit.

While sampling, the function is called with the prompts (padded to the left) and then with one position a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from elicit.activations.sites import Site, replace_site, resolve_sites
from elicit.errors import ElicitError
from elicit.loading import architectures

if TYPE_CHECKING:
    from elicit.sampling.forward import Engine
    from elicit.steering import PositionTracker

Function = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def replace_activations(
    engine: Engine, sites: str | Sequence[str], function: Function, positions: Sequence[int] | None = None
) -> Iterator[None]:
    """Replace every site by `function` of it while the context is open.

    Args:
        positions: offsets from the last prompt token (0; what is generated follows at 1); None: every position.

    Raises:
        ElicitError: an unknown site, a pattern (which can be read only), a result of another shape, or (on a clean
            exit) a forward pass never reached the site and positions.
    """
    resolved = resolve_sites(engine.hf, sites)
    if any(site.name == "pattern" for site in resolved):
        raise ElicitError("replace: patterns can be read, not replaced. Take z, the heads' outputs.")
    if isinstance(positions, str) or (positions is not None and not positions):
        raise ElicitError("replace: positions are offsets from the last prompt token. Type: positions=[0], or [0, -1]")
    reached: set[Site] = set()
    with ExitStack() as stack:
        if positions is not None:
            decoder = architectures.get_decoder(engine.hf)
            handle = decoder.register_forward_pre_hook(
                lambda _, args, kwargs: engine.clock.observe_call(args, kwargs), with_kwargs=True
            )
            stack.callback(handle.remove)
        for site in resolved:
            edit = _build_edit(engine.clock, site, function, positions, reached)
            stack.enter_context(replace_site(engine.hf, Site(site.layer, site.name), edit))
        yield
    silent = [site for site in resolved if site not in reached]
    if silent:
        raise ElicitError(
            f"replace: no forward pass reached {silent[0]} at these positions. Run the model inside the context "
            "(model.sample, score, cache; not model.bridge), with prompts that are long enough."
        )


def _build_edit(
    clock: PositionTracker, site: Site, function: Function, positions: Sequence[int] | None, reached: set[Site]
) -> Function:
    def replace(tensor: torch.Tensor) -> torch.Tensor:
        old = tensor if site.head is None else tensor[:, :, site.head]
        chosen = None if positions is None else _choose_positions(clock, positions, old)
        if chosen is not None and not bool(chosen.any()):
            return tensor
        reached.add(site)
        new = function(old)
        if not isinstance(new, torch.Tensor) or new.shape != old.shape:
            result = list(new.shape) if isinstance(new, torch.Tensor) else type(new).__name__
            raise ElicitError(
                f"replace: the function returned {result} for {site}, which is {list(old.shape)}. Return a tensor of "
                "that shape, as value.expand_as(x)."
            )
        new = new.to(tensor)
        if chosen is not None:
            new = torch.where(chosen[(..., *[None] * (old.ndim - 2))], new, old)
        if site.head is None:
            return new
        edited = tensor.clone()
        edited[:, :, site.head] = new
        return edited

    return replace


def _choose_positions(clock: PositionTracker, positions: Sequence[int], tensor: torch.Tensor) -> torch.Tensor:
    """Mask [batch, pos] of the chosen offsets that are real tokens."""
    frame = clock.frame
    if clock.explicit is None and clock.prompt_lengths is None:
        raise ElicitError(
            "replace: positions need the number of prompt tokens of each row. Run the model through the lab "
            "(model.sample, score, cache), or leave out positions."
        )
    assert frame is not None
    offsets = torch.full(frame.shape, frame.low) if frame.offsets is None else frame.offsets
    chosen = torch.isin(offsets.to(tensor.device), torch.tensor(list(positions), device=tensor.device))
    chosen = chosen.expand(tensor.shape[:2])
    return chosen if frame.real is None else chosen & frame.real.to(tensor.device)
