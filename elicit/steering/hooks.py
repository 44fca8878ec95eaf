"""Apply edits with forward hooks on decoder layers.

Nothing stays attached: `steer` is a context manager that owns only its own handles, nests, and raises if one of its
edits never touched a forward pass. Hooks handle tensors and tuples, choose positions by absolute position (see
`position_tracker`), and let gradients through, so a trainable vector can be steered by the same path (`Edit`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import nn

from elicit.errors import ElicitError
from elicit.positions import PositionExpression
from elicit.steering.function_edit import FunctionEdit
from elicit.steering.gated import GatedEdit
from elicit.steering.position_tracker import PositionFrame, PositionTracker
from elicit.steering.positions import Positions, parse
from elicit.steering.spec import Steering

#: Every kind of edit that a policy can have.
AnyEdit = Steering | GatedEdit | FunctionEdit


@dataclass(frozen=True)
class Edit:
    """Edit that a hook applies: `h + weight(position) * delta(h)` at the output of one layer."""

    layer: int
    positions: Positions | PositionExpression
    delta: Callable[[Float[torch.Tensor, "*batch d_model"]], torch.Tensor]
    """Returns [d_model], or [*batch d_model] if it reads the residual. May contain parameters: gradients flow."""
    label: str
    reads: bool = False
    """True if delta depends on the residual. It is then computed only at touched positions: an SAE's encoder over every
    token of a long prompt would cost more than the model."""
    gates: bool = False
    """True if delta may be zero at some positions, which then do not count as touched (`GatedEdit`)."""


def to_hook_edit(steering: AnyEdit) -> Edit:
    """Convert a spec to an edit. Terms that do not depend on the residual are computed once per device and dtype."""
    if isinstance(steering, GatedEdit):
        on_device = functools.cache(steering.delta_on)
        return Edit(
            steering.layer, parse(steering.positions), lambda h: on_device(h.device)(h), str(steering), True, True
        )
    if isinstance(steering, FunctionEdit):
        return Edit(steering.layer, parse(steering.positions), steering.delta, str(steering), True)
    cached_tensors: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

    def compute_delta(h: torch.Tensor) -> torch.Tensor:
        where = h.device, h.dtype
        if where not in cached_tensors:
            direction = steering.direction.to(h.device)
            cached_tensors[where] = direction if steering.reads else steering.delta(direction, h)
        return steering.delta(cached_tensors[where], h) if steering.reads else cached_tensors[where]

    return Edit(steering.layer, parse(steering.positions), compute_delta, str(steering), steering.reads)


class Firings:
    """Counts of (position, edit) pairs that each edit has touched so far."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.counts = [0] * len(labels)
        self.asked = [False] * len(labels)
        """True once a forward pass has reached the edit's positions, even if a gate has not fired."""

    @property
    def total(self) -> int:
        return sum(self.counts)

    def __repr__(self) -> str:
        return "Firings(" + ", ".join(f"{n} x {label}" for label, n in zip(self.labels, self.counts, strict=True)) + ")"


class View(NamedTuple):
    """One module tree that runs the model: the transformers model, or a bridge that shares its weights."""

    decoder: nn.Module
    """Its call arguments give positions (the stack below the LM head)."""
    layers: Sequence[nn.Module]
    """Modules that return the residual after each decoder layer, in order."""


@dataclass(frozen=True, eq=False)
class OpenSteering:
    """Edits whose context is open, and their hooks on every view of the model."""

    clock: PositionTracker
    edits: tuple[Edit, ...]
    firings: Firings
    handles: list[Any] = field(default_factory=list)

    def attach(self, view: View) -> None:
        """Hook the edits into a view."""
        observe = view.decoder.register_forward_pre_hook(
            lambda _, args, kwargs: self.clock.observe_call(args, kwargs), with_kwargs=True
        )
        self.handles.append(observe)
        if any(isinstance(edit.positions, PositionExpression) for edit in self.edits):
            note = view.decoder.register_forward_hook(lambda _, args, output: self.clock.observe_output(output))
            self.handles.append(note)
        for i, edit in enumerate(self.edits):
            hook = _make_edit_hook(edit, i, self.clock, self.firings)
            self.handles.append(view.layers[edit.layer].register_forward_hook(hook))


@contextmanager
def steer(
    decoder: nn.Module,
    layers: Sequence[nn.Module],
    clock: PositionTracker,
    edits: Sequence[Edit],
    *,
    prompt_lengths: Sequence[int] | int | None = None,
    others: Sequence[View] = (),
) -> Iterator[Firings]:
    """Apply `edits` while the context is open.

    Args:
        decoder: the module whose call arguments give positions (the stack below the LM head).
        layers: its decoder layers, in order.
        clock: the model's position tracker.
        edits: applied in this order at each layer; contexts nest, the outer one first.
        prompt_lengths: real prompt tokens of each row, for callers that are not the lab's sampler or scorer.
        others: further views of the model that may run meanwhile; one built later joins through `clock.steering`.

    Raises:
        ElicitError: a layer does not exist, or (on a clean exit) an edit never touched a forward pass.
    """
    for edit in edits:
        if not 0 <= edit.layer < len(layers):
            raise ElicitError(f"steer: layer {edit.layer} does not exist. Layers are 0 to {len(layers) - 1}.")
    expressions = [edit.positions for edit in edits if isinstance(edit.positions, PositionExpression)]
    for expression in expressions:
        clock.check_expression(expression)
    firings = Firings([edit.label for edit in edits])
    before, open_before = clock.prompt_lengths, clock.expressions
    clock.expressions = [*open_before, *expressions]
    if prompt_lengths is not None:
        clock.prompt_lengths = torch.as_tensor(prompt_lengths, dtype=torch.long).reshape(-1)
    opened = OpenSteering(clock, tuple(edits), firings)
    clock.steering.append(opened)
    try:
        for view in (View(decoder, layers), *others):
            opened.attach(view)
        yield firings
    finally:
        clock.steering.remove(opened)
        for handle in opened.handles:
            handle.remove()
        clock.prompt_lengths, clock.expressions = before, open_before
        clock.derived = None
    silent = [label for label, was_reached in zip(firings.labels, firings.asked, strict=True) if not was_reached]
    if silent:
        raise ElicitError(
            f"steer: this edit never touched a forward pass: {silent[0]}. Run the model inside the context, with "
            "prompts and lengths that reach the edit's positions."
        )


def _make_edit_hook(edit: Edit, index: int, clock: PositionTracker, firings: Firings) -> Callable[..., Any]:
    def edit_output(module: nn.Module, args: Any, output: Any) -> Any:
        frame = clock.frame
        h = output[0] if isinstance(output, tuple) else output
        if frame is None or frame.shape != tuple(h.shape[:2]):
            raise RuntimeError(
                f"steering lost track of positions: the layer gave {tuple(h.shape)}, the pass announced "
                f"{frame.shape if frame else None}"
            )
        if edit.positions.needs_prompt_length and clock.explicit is None and clock.prompt_lengths is None:
            raise ElicitError(
                f"steer: positions {edit.positions.text!r} need the number of prompt tokens of each row. "
                "Sample through the lab (model.sample), or pass prompt_lengths= to steer."
            )
        if not edit.positions.touches_range(frame.low, frame.high):
            return None
        weights = None
        if isinstance(edit.positions, PositionExpression):
            firings.asked[index] = True  # a text may never have the tokens that it waits for
            weights = frame.weigh_rows(edit.positions, clock.vocabulary)
            if not weights.any():
                return None
        edited, touched = _apply_edit(edit, frame, h, weights)
        firings.asked[index] |= edit.gates or bool(touched if isinstance(touched, int) else touched.any())
        firings.counts[index] += frame.count_firings(touched)
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    return edit_output


def _apply_edit(
    edit: Edit, frame: PositionFrame, h: torch.Tensor, weights: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | int]:
    """Apply an edit: (edited residual, mask of touched positions or their number per row).

    Args:
        weights: an expression's strength multipliers; None for a window.
    """
    if isinstance(edit.positions, Positions):
        if not edit.gates and frame.real is None and edit.positions.covers_range(frame.low, frame.high):
            if not edit.positions.decays:
                return h + edit.delta(h), frame.shape[1]
            if frame.offsets is None:
                return h + edit.positions.weight_at(frame.low) * edit.delta(h), frame.shape[1]
        weights = _weigh_window(edit.positions, frame, h.device)
    assert weights is not None
    weights = weights.to(h.device)
    touched = weights != 0
    if edit.gates:
        return _apply_gated_edit(edit, h, weights, touched)
    # Untouched positions keep their values bit for bit, including NaN at padding.
    if edit.reads:
        chosen = h[touched]
        return h.index_put((touched,), chosen + weights[touched, None].to(h.dtype) * edit.delta(chosen)), touched
    return torch.where(touched[..., None], h + weights[..., None].to(h.dtype) * edit.delta(h), h), touched


def _apply_gated_edit(
    edit: Edit, h: torch.Tensor, weights: torch.Tensor, inside: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for a gated edit, which is zero where its gate gives none; such positions do not count as touched."""
    chosen = h[inside]
    delta = edit.delta(chosen)
    touched = inside.clone()
    touched[inside] = (delta != 0).any(dim=-1)
    return h.index_put((inside,), chosen + weights[inside, None].to(h.dtype) * delta), touched


def _weigh_window(positions: Positions, frame: PositionFrame, device: torch.device) -> Float[torch.Tensor, "batch pos"]:
    """Strength multiplier at every position of a pass: 0 at padding."""
    offsets = torch.full(frame.shape, frame.low) if frame.offsets is None else frame.offsets
    weights = positions.weights_at(offsets.to(device).expand(frame.shape))
    return weights if frame.real is None else weights * frame.real.to(device)
