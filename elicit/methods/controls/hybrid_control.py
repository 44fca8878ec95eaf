"""`hybrid_control`: control of a `hybrid_steering` arm with one part randomised.

    random_vectors      every category's direction is a random one of the same length, at the setting that the parent
                        chose (`vectors: random` of `hybrid_steering` gives random vectors the parent's search)
    random_categories   directions are exchanged between the steered categories, of which there must be two
    random_positions    the right direction for the state, at random positions

The number of random positions equals the parent's only in expectation: each generated token is steered with the
probability with which the parent steered on the select split (`scatter` in `readouts.hybrid`). The category is the most
probable one with a direction according to the gate, *none* excluded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.method import Method, Traits

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.readouts import HybridReadout
    from elicit.tasks import Task


@dataclass(frozen=True)
class HybridControl(Method):
    """A parent arm with random vectors, categories or positions."""

    change: Literal["random_vectors", "random_categories", "random_positions"] = "random_vectors"
    """The part that is randomised."""
    parent: str = "hybrid_steering"
    """The arm that this controls."""

    traits: ClassVar[Traits] = Traits(
        seeded=True,
        family="hybrid",
        provides=("gated direction",),
        fits_on=("gated direction",),
        is_control=True,
    )

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the parent is not a hybrid arm or steers too few categories to exchange."""
        from elicit.fitting.gate import draw_random_directions
        from elicit.readouts import HybridReadout
        from elicit.steering import GatedEdit

        parent = needs[self.parent]
        edit = parent.readout if isinstance(parent.readout, HybridReadout) else next(iter(parent.steering), None)
        if not isinstance(edit, HybridReadout | GatedEdit) or len(parent.steering) > 1:
            raise ElicitError(
                f"hybrid_control: its parent {self.parent!r} does not steer by category. Name an arm of "
                "hybrid_steering."
            )
        if self.change == "random_positions":
            share = parent.record["fraction_steered"]["of_tokens"]
            readout = _scatter_positions(edit, share, seed)
            changed = dataclasses.replace(parent, steering=(), readout=readout, record={"steering": [str(readout)]})
        else:
            directions = (
                draw_random_directions(edit.directions, "hybrid vectors", seed)
                if self.change == "random_vectors"
                else _permute_directions(edit.directions, seed)
            )
            new = dataclasses.replace(edit, directions=directions)
            where = {"steering": (new,)} if isinstance(new, GatedEdit) else {"readout": new}
            changed = dataclasses.replace(parent, record={"steering": [str(new)]}, **where)
        return dataclasses.replace(changed, record={**changed.record, "change": self.change})


def _permute_directions(directions: torch.Tensor, seed: int) -> torch.Tensor:
    """Give every steered category the direction of another one: a cyclic shift in an order drawn from the seed.

    Raises:
        ElicitError: fewer than two categories are steered. A lone direction would go where it is never added, and such
            a control could not fail.
    """
    import torch

    from elicit import seeds

    steered = (directions.norm(dim=1) > 0).nonzero()[:, 0]
    if len(steered) < 2:
        raise ElicitError(
            f"hybrid_control: the parent steers {len(steered)} of {len(directions)} categories, too few to exchange "
            "directions between them. Leave this control out: such an arm is controlled by random_vectors."
        )
    order = steered[torch.from_numpy(seeds.make_generator("hybrid categories", seed).permutation(len(steered)))]
    permuted = directions.clone()
    permuted[order] = directions[order.roll(1)]
    return permuted


def _scatter_positions(edit: object, share: float, seed: int) -> HybridReadout:
    from elicit.readouts import HybridReadout
    from elicit.steering import Gate, GatedEdit

    assert isinstance(edit, HybridReadout | GatedEdit)
    parent_gate = edit.gate
    if isinstance(edit, GatedEdit):
        parent_gate = Gate(parent_gate.weight[1:], parent_gate.bias[1:])
    steered = edit.directions.norm(dim=1) > 0
    if not bool(steered.any()):
        raise ElicitError("hybrid_control: the parent steers nowhere, so there is nothing to put elsewhere.")
    gate, rows = Gate(parent_gate.weight[steered], parent_gate.bias[steered]), edit.directions[steered]
    if isinstance(edit, HybridReadout):
        return dataclasses.replace(edit, gate=gate, directions=rows, scatter=share, seed=seed)
    return HybridReadout(None, gate, edit.layer, rows, edit.layer, edit.strength, edit.unit, scatter=share, seed=seed)
